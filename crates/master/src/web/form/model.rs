//! A schema as people see it.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};
use slap_client::release::ParameterSchema;

/// How deep a form is nested; what is deeper is edited as JSON.
const DEPTH_MAX: usize = 8;
/// Most parts of a form.
const NODES_MAX: usize = 2_000;
/// Most schemas that are one: references and `allOf`.
const PARTS_MAX: usize = 64;
/// Most alternatives, and most values of a choice.
const ALTERNATIVES_MAX: usize = 32;
const VALUES_MAX: usize = 500;
/// Longest title, and longest description, in characters.
const TITLE_CHARS_MAX: usize = 120;
const WORDS_CHARS_MAX: usize = 2_000;

/// What a reference in the file at a place refers to, and where that is.
type Resolve<'a> = dyn Fn(&str, &str) -> Option<(String, &'a Json)> + 'a;

/// A schema, and the files it refers to, by their places.
pub(super) struct Documents<'a> {
    /// Where the schema itself is.
    pub(super) place: &'a str,
    /// The schema.
    pub(super) document: &'a Json,
    /// Where the references lead.
    pub(super) resolve: &'a Resolve<'a>,
}

/// A form to be.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::web) struct Model {
    pub(super) root: Node,
}

/// A part of a form.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) title: String,
    pub(super) description: String,
    pub(super) default: Option<Json>,
    pub(super) example: Option<Json>,
    /// Whether what it is in must have it.
    pub(super) required: bool,
    pub(super) deprecated: bool,
    pub(super) read_only: bool,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Object {
        fields: Vec<(String, Node)>,
        more: More,
    },
    List {
        item: Box<Node>,
        rows_min: usize,
        rows_max: usize,
    },
    /// One of these values, with what people call them.
    Choice(Vec<(Json, String)>),
    Boolean,
    Number {
        is_integer: bool,
        /// What it may be, in words.
        limits: String,
    },
    Text {
        is_long: bool,
        is_secret: bool,
        /// Whether a text with nothing in it is one.
        may_be_empty: bool,
        /// What it may be, in words.
        limits: String,
    },
    /// One of several parts, with what people call them.
    Either(Vec<(String, Node)>),
    /// Whatever JSON can write; `plain` where a text needs no quotation marks.
    Json {
        plain: bool,
    },
}

/// Properties that have no field of their own.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum More {
    /// There must be none.
    Closed,
    /// They are shown when there are some.
    Silent(Box<Node>),
    /// There are rows for them.
    Open(Box<Node>),
}

impl More {
    pub(super) fn node(&self) -> Option<&Node> {
        match self {
            More::Closed => None,
            More::Silent(node) | More::Open(node) => Some(node),
        }
    }
}

impl Model {
    /// The form of the parameters of a release.
    pub(in crate::web) fn of_schema(schema: &ParameterSchema) -> Self {
        Model::of(&Documents {
            place: schema.place(),
            document: schema.document(),
            resolve: &|place, reference| schema.resolve(place, reference),
        })
    }

    /// The form of a schema. What cannot be shown is a field for JSON; there is no schema without
    /// a form.
    pub(super) fn of(documents: &Documents<'_>) -> Self {
        let mut builder = Builder {
            documents,
            nodes: 0,
            above: Vec::new(),
        };
        let mut root = builder.node(&[(documents.place.to_owned(), documents.document)], None);
        // Parameters are a dictionary, whatever their schema forgets to say.
        if let Kind::Json { .. } = root.kind {
            root.kind = Kind::Object {
                fields: Vec::new(),
                more: More::Open(Box::new(any())),
            };
        }
        root.required = true;
        if let Kind::Object { more, .. } = &mut root.kind
            && let More::Silent(node) = more
        {
            *more = More::Open(node.clone());
        }
        Model { root }
    }
}

/// A part nothing is known of.
fn any() -> Node {
    Node {
        title: String::new(),
        description: String::new(),
        default: None,
        example: None,
        required: false,
        deprecated: false,
        read_only: false,
        kind: Kind::Json { plain: true },
    }
}

/// A schema with the place of its file.
type Placed<'a> = (String, &'a Json);

/// A schema that is one of those that hold together. Alternatives are looked for only in some:
/// those it was chosen from are done with.
#[derive(Clone)]
struct Part<'a> {
    place: String,
    map: &'a Map<String, Json>,
    is_chosen_from: bool,
}

struct Builder<'d, 'a> {
    documents: &'d Documents<'a>,
    nodes: usize,
    /// The schemas a part is in, by their addresses: one within itself would never end.
    above: Vec<usize>,
}

impl<'a> Builder<'_, 'a> {
    fn node(&mut self, schemas: &[Placed<'a>], base: Option<&[Part<'a>]>) -> Node {
        let mut parts = Vec::new();
        let mut is_open = true;
        for (place, schema) in schemas {
            is_open &= self.gather(place, schema, 0, &mut parts);
        }
        parts.extend(base.into_iter().flatten().cloned());
        self.nodes += 1;
        let address = parts
            .first()
            .map(|part| std::ptr::from_ref(part.map) as usize);
        let address = address.unwrap_or_default();
        let too_much = !is_open
            || self.nodes > NODES_MAX
            || self.above.len() >= DEPTH_MAX
            || base.is_none() && self.above.contains(&address);
        let mut node = described(&parts);
        if too_much || parts.is_empty() {
            node.kind = Kind::Json { plain: false };
            if parts.is_empty() {
                node.kind = Kind::Json { plain: true };
            }
            return node;
        }
        self.above.push(address);
        node.kind = self.kind(&parts, None);
        self.above.pop();
        node
    }

    /// Adds a schema with all that holds with it. Whether all could be found.
    fn gather(
        &self,
        place: &str,
        schema: &'a Json,
        depth: usize,
        parts: &mut Vec<Part<'a>>,
    ) -> bool {
        let Some(map) = schema.as_object() else {
            return true;
        };
        if depth > PARTS_MAX / 4 || parts.len() >= PARTS_MAX {
            return false;
        }
        if parts.iter().any(|part| std::ptr::eq(part.map, map)) {
            return true;
        }
        parts.push(Part {
            place: place.to_owned(),
            map,
            is_chosen_from: false,
        });
        let mut found = true;
        if let Some(reference) = map.get("$ref").and_then(Json::as_str) {
            match (self.documents.resolve)(place, reference) {
                Some((place, schema)) => found &= self.gather(&place, schema, depth + 1, parts),
                None => found = false,
            }
        }
        for schema in list(map, "allOf") {
            found &= self.gather(place, schema, depth + 1, parts);
        }
        found
    }

    fn kind(&mut self, parts: &[Part<'a>], forced: Option<&str>) -> Kind {
        if let Some(value) = get(parts, "const") {
            return Kind::Choice(vec![(value.clone(), name_of(value))]);
        }
        if let Some(values) = get(parts, "enum").and_then(Json::as_array)
            && (1..=VALUES_MAX).contains(&values.len())
        {
            let named = |value: &Json| (value.clone(), name_of(value));
            return Kind::Choice(values.iter().map(named).collect());
        }
        if let Some(kind) = self.either(parts) {
            return kind;
        }
        let types = match forced {
            Some(forced) => vec![forced],
            None => types(parts),
        };
        match types.as_slice() {
            [] => Kind::Json { plain: true },
            ["object"] => self.object(parts),
            ["array"] => self.list(parts),
            ["boolean"] => Kind::Boolean,
            ["null"] => Kind::Choice(vec![(Json::Null, name_of(&Json::Null))]),
            ["integer"] | ["number"] => Kind::Number {
                is_integer: types == ["integer"],
                limits: number_limits(parts),
            },
            ["string"] => text(parts),
            [_] => Kind::Json { plain: true },
            several => {
                let alternative = |builder: &mut Self, one: &str| {
                    let mut node = any();
                    node.required = true;
                    node.kind = builder.kind(parts, Some(one));
                    (type_name(one).to_owned(), node)
                };
                let several = several.iter().take(ALTERNATIVES_MAX);
                Kind::Either(several.map(|one| alternative(self, one)).collect())
            }
        }
    }

    fn either(&mut self, parts: &[Part<'a>]) -> Option<Kind> {
        let (index, key) = parts.iter().enumerate().find_map(|(index, part)| {
            let choices = |key: &&str| {
                let alternatives = list(part.map, key);
                let says_something = |schema: &Json| {
                    let telling = [
                        "type",
                        "properties",
                        "$ref",
                        "const",
                        "enum",
                        "allOf",
                        "oneOf",
                        "anyOf",
                        "items",
                    ];
                    telling.iter().any(|key| schema.get(key).is_some())
                };
                !part.is_chosen_from
                    && (1..=ALTERNATIVES_MAX).contains(&alternatives.len())
                    // Those that only demand properties are for the schema to check.
                    && alternatives.iter().all(says_something)
            };
            let key = ["oneOf", "anyOf"].into_iter().find(|key| choices(key))?;
            Some((index, key))
        })?;
        let chosen = parts.get(index)?;
        let alternatives = list(chosen.map, key);
        let values: Option<Vec<(Json, String)>> = alternatives.iter().map(only_value).collect();
        if let Some(values) = values {
            return Some(Kind::Choice(values));
        }
        let mut base = parts.to_vec();
        if let Some(part) = base.get_mut(index) {
            part.is_chosen_from = true;
        }
        let place = chosen.place.clone();
        let mut nodes = Vec::new();
        for (number, schema) in alternatives.iter().enumerate() {
            let mut node = self.node(&[(place.clone(), schema)], Some(&base));
            node.required = true;
            let own = described(&self.parts_of(&place, schema)).title;
            let name = match (own.as_str(), &node.kind) {
                ("", Kind::Choice(values)) if values.len() == 1 => values[0].1.clone(),
                ("", kind) => match kind_name(kind) {
                    "" => format!("Alternative {}", number + 1),
                    name => name.to_owned(),
                },
                (title, _) => title.to_owned(),
            };
            // What stands above all alternatives is not said again in each.
            node.default = None;
            node.description = described(&self.parts_of(&place, schema)).description;
            nodes.push((name, node));
        }
        Some(Kind::Either(nodes))
    }

    fn parts_of(&self, place: &str, schema: &'a Json) -> Vec<Part<'a>> {
        let mut parts = Vec::new();
        self.gather(place, schema, 0, &mut parts);
        parts
    }

    fn object(&mut self, parts: &[Part<'a>]) -> Kind {
        let mut names: Vec<&'a String> = Vec::new();
        let mut found: BTreeMap<&'a str, Vec<Placed<'a>>> = BTreeMap::new();
        // What is chosen comes after what all alternatives have.
        for part in parts.iter().rev() {
            for (name, schema) in map(part.map, "properties") {
                let schemas = found.entry(name.as_str()).or_default();
                if schemas.is_empty() {
                    names.push(name);
                }
                schemas.insert(0, (part.place.clone(), schema));
            }
        }
        let required = |name: &str| {
            let mut all = parts.iter().flat_map(|part| list(part.map, "required"));
            all.any(|required| required == name)
        };
        let mut fields = Vec::new();
        for name in names {
            let Some(schemas) = found.get(name.as_str()) else {
                continue;
            };
            let mut node = self.node(schemas, None);
            if node.title.is_empty() {
                node.title.clone_from(name);
            }
            node.required = required(name);
            fields.push((name.clone(), node));
        }
        let more = self.more(parts, fields.is_empty());
        Kind::Object { fields, more }
    }

    fn more(&mut self, parts: &[Part<'a>], is_all: bool) -> More {
        let mut said: Option<Placed<'a>> = None;
        let mut is_true = false;
        let mut is_closed = false;
        for part in parts {
            match part.map.get("additionalProperties") {
                Some(Json::Bool(false)) => is_closed = true,
                Some(Json::Bool(true)) => is_true = true,
                Some(schema) if said.is_none() => said = Some((part.place.clone(), schema)),
                _ => {}
            }
            if said.is_none()
                && let Some((_, schema)) = map(part.map, "patternProperties").next()
            {
                said = Some((part.place.clone(), schema));
                is_closed = false;
            }
        }
        match said {
            Some(schema) => {
                let mut node = self.node(&[schema], None);
                node.required = false;
                More::Open(Box::new(node))
            }
            None if is_closed => More::Closed,
            None if is_true || is_all => More::Open(Box::new(any())),
            None => More::Silent(Box::new(any())),
        }
    }

    fn list(&mut self, parts: &[Part<'a>]) -> Kind {
        let items = parts.iter().find_map(|part| {
            let items = part.map.get("items")?;
            Some((part.place.clone(), items))
        });
        let is_tuple = parts
            .iter()
            .any(|part| part.map.contains_key("prefixItems"));
        let Some((place, items)) = items.filter(|(_, items)| items.is_object() && !is_tuple) else {
            return Kind::Json { plain: false };
        };
        let mut item = self.node(&[(place, items)], None);
        item.required = true;
        let count = |key: &str| {
            let count = get(parts, key).and_then(Json::as_u64);
            count.and_then(|count| usize::try_from(count).ok())
        };
        Kind::List {
            item: Box::new(item),
            rows_min: count("minItems").unwrap_or_default(),
            rows_max: count("maxItems").unwrap_or(usize::MAX),
        }
    }
}

fn list<'a>(map: &'a Map<String, Json>, key: &str) -> &'a [Json] {
    map.get(key)
        .and_then(Json::as_array)
        .map_or(&[], Vec::as_slice)
}

fn map<'a>(map: &'a Map<String, Json>, key: &str) -> impl Iterator<Item = (&'a String, &'a Json)> {
    map.get(key).and_then(Json::as_object).into_iter().flatten()
}

fn get<'a>(parts: &[Part<'a>], key: &str) -> Option<&'a Json> {
    parts.iter().find_map(|part| part.map.get(key))
}

fn words(parts: &[Part<'_>], key: &str, chars: usize) -> String {
    let text = parts.iter().find_map(|part| part.map.get(key)?.as_str());
    text.unwrap_or_default()
        .trim()
        .chars()
        .take(chars)
        .collect()
}

fn is_set(parts: &[Part<'_>], key: &str) -> bool {
    get(parts, key).and_then(Json::as_bool).unwrap_or(false)
}

/// What a schema says of itself to people.
fn described(parts: &[Part<'_>]) -> Node {
    let mut title = words(parts, "title", TITLE_CHARS_MAX);
    let mut description = words(parts, "description", WORDS_CHARS_MAX);
    if title == description {
        description.clear();
    }
    if title.ends_with(':') {
        title.pop();
    }
    let examples = get(parts, "examples").and_then(Json::as_array);
    Node {
        title,
        description,
        default: get(parts, "default").cloned(),
        example: examples.and_then(|examples| examples.first()).cloned(),
        required: false,
        deprecated: is_set(parts, "deprecated"),
        read_only: is_set(parts, "readOnly"),
        kind: Kind::Json { plain: true },
    }
}

/// The types something may have, those that are one for people as one.
fn types<'a>(parts: &[Part<'a>]) -> Vec<&'a str> {
    let mut types: Vec<&str> = match get(parts, "type") {
        Some(Json::String(one)) => vec![one.as_str()],
        Some(Json::Array(several)) => several.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    };
    if types.contains(&"number") {
        types.retain(|one| *one != "integer");
    }
    let mut seen = Vec::new();
    types.retain(|one| {
        !seen.contains(one) && {
            seen.push(*one);
            true
        }
    });
    if !types.is_empty() {
        return types;
    }
    let signs: [(&[&str], &str); 3] = [
        (
            &["properties", "additionalProperties", "patternProperties"],
            "object",
        ),
        (&["items"], "array"),
        (&["minLength", "maxLength", "pattern", "textarea"], "string"),
    ];
    let mut found = signs.into_iter();
    let found = found.find(|(keys, _)| keys.iter().any(|key| get(parts, key).is_some()));
    found.map(|(_, one)| one).into_iter().collect()
}

/// The one value a schema takes, with its name.
fn only_value(schema: &Json) -> Option<(Json, String)> {
    let values = || schema.get("enum").and_then(Json::as_array);
    let value = match (schema.get("const"), values().map(Vec::as_slice)) {
        (Some(value), _) => value,
        (None, Some([value])) => value,
        _ => return None,
    };
    let title = schema.get("title").and_then(Json::as_str);
    Some((
        value.clone(),
        title.map_or_else(|| name_of(value), str::to_owned),
    ))
}

/// A value as people read it.
pub(super) fn name_of(value: &Json) -> String {
    match value {
        Json::String(text) if text.is_empty() => "(empty)".to_owned(),
        Json::String(text) => text.clone(),
        Json::Null => "nothing (null)".to_owned(),
        Json::Bool(true) => "yes".to_owned(),
        Json::Bool(false) => "no".to_owned(),
        other => other.to_string(),
    }
}

fn type_name(name: &str) -> &str {
    match name {
        "object" => "Several named values",
        "array" => "A list",
        "boolean" => "Yes or no",
        "null" => "Nothing",
        "integer" | "number" => "A number",
        "string" => "A text",
        other => other,
    }
}

fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::List { .. } => "A list",
        Kind::Boolean => "Yes or no",
        Kind::Number { .. } => "A number",
        Kind::Text { .. } => "A text",
        _ => "",
    }
}

fn number_limits(parts: &[Part<'_>]) -> String {
    let number = |key: &str| {
        let limit = get(parts, key).filter(|limit| limit.is_number());
        limit.map(ToString::to_string)
    };
    let mut said = match (number("minimum"), number("maximum")) {
        (Some(from), Some(to)) => format!("From {from} to {to}."),
        (Some(from), None) => format!("At least {from}."),
        (None, Some(to)) => format!("At most {to}."),
        (None, None) => String::new(),
    };
    for (key, words) in [
        ("exclusiveMinimum", "More than"),
        ("exclusiveMaximum", "Less than"),
        ("multipleOf", "A multiple of"),
    ] {
        if let Some(limit) = number(key) {
            let space = if said.is_empty() { "" } else { " " };
            said.push_str(&format!("{space}{words} {limit}."));
        }
    }
    said
}

fn text(parts: &[Part<'_>]) -> Kind {
    /// From so many characters on, a text may have several lines.
    const LONG: u64 = 400;
    let count = |key: &str| get(parts, key).and_then(Json::as_u64);
    let format = get(parts, "format").and_then(Json::as_str);
    let (shortest, longest) = (count("minLength").unwrap_or(0), count("maxLength"));
    let has_lines = get(parts, "default")
        .and_then(Json::as_str)
        .is_some_and(|text| text.contains('\n'));
    let limits = match (shortest, longest) {
        (0 | 1, None) => String::new(),
        (0 | 1, Some(to)) => format!("At most {to} characters."),
        (from, None) => format!("At least {from} characters."),
        (from, Some(to)) => format!("{from} to {to} characters."),
    };
    let limits = match format {
        None | Some("password" | "textarea") => limits,
        Some(format) => {
            let space = if limits.is_empty() { "" } else { " " };
            format!("{limits}{space}Format: {format}.")
        }
    };
    Kind::Text {
        is_long: is_set(parts, "textarea")
            || format == Some("textarea")
            || has_lines
            || longest.is_some_and(|longest| longest > LONG),
        is_secret: format == Some("password"),
        may_be_empty: shortest == 0,
        limits,
    }
}
