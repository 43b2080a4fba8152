//! Parameters being typed: as a form made of the release's schema, or as JSON. Both work without a
//! script: every button sends the form, and the page comes back with what was asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use maud::{Markup, html};
use serde_json::{Map, Value as Json};
use slap::serialisation::{JSON_KEY, Serialisation, unwrap, wrap};
use slap::{ReleaseUrl, SoftwareType, Value};
use slap_client::release::{ParameterSchema, TypeInfo};
use slap_server::{Problem, parameters};

use crate::api::{App, Call};
use crate::domain::ProjectKey;
use crate::store::{StoreError, Texts};
use crate::web::Visit;
use crate::web::form::{Look, Model, Reading, Values, show};
use crate::web::parts::{alert, hint};

/// Most fields of a form that are read.
const FIELDS_MAX: usize = 12_000;

/// A form as it was sent. It may have many more fields than calls of programs.
pub(super) struct Sent(BTreeMap<String, String>);

impl Sent {
    /// The fields of a form that a page of ours gave to this browser.
    pub(super) fn of(visit: &Visit, call: &Call) -> Result<Self, Problem> {
        visit.form(call)?;
        let pairs = form_urlencoded::parse(&call.body).take(FIELDS_MAX);
        let mut fields = BTreeMap::new();
        for (name, text) in pairs {
            fields.entry(name.into_owned()).or_insert(text.into_owned());
        }
        Ok(Sent(fields))
    }

    /// A field as it is; empty when it is not there.
    pub(super) fn raw(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// What is in a field, without white space around it.
    pub(super) fn text(&self, name: &str) -> String {
        self.raw(name).trim().to_owned()
    }

    fn values(&self) -> Values {
        Values::of(
            self.0
                .iter()
                .map(|(name, text)| (name.as_str(), text.as_str())),
        )
    }
}

/// What parameters are for, and what is known of them.
pub(super) struct Purpose {
    pub(super) release: ReleaseUrl,
    pub(super) software_type: SoftwareType,
    pub(super) shared: bool,
    pub(super) serialisation: Serialisation,
    schema: Option<Arc<ParameterSchema>>,
    model: Option<Model>,
    /// Why there is no form.
    why: String,
}

/// Whether a product that the caller sees has this release. Only such releases are read: the Master
/// reaches for no URL that somebody just typed.
pub(super) async fn is_in_catalogue(
    app: &App,
    call: &Call,
    project: ProjectKey,
    release: &ReleaseUrl,
) -> Result<bool, StoreError> {
    let url = release.as_str().to_owned();
    let like = app.store.releases_like(call.caller, url, Some(project));
    match like.await {
        Ok(found) => Ok(found.iter().any(|found| found == release.as_str())),
        Err(StoreError::Refused(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

impl Purpose {
    /// Parameters of a type that the release tells of.
    pub(super) async fn of_type(
        app: &App,
        release: ReleaseUrl,
        info: Result<(&slap_client::release::Metadata, &TypeInfo), String>,
        typed: (SoftwareType, Serialisation),
    ) -> Self {
        let mut purpose = Purpose {
            release,
            software_type: typed.0,
            shared: false,
            serialisation: typed.1,
            schema: None,
            model: None,
            why: String::new(),
        };
        let (metadata, info) = match info {
            Ok(known) => known,
            Err(why) => {
                purpose.why = why;
                return purpose;
            }
        };
        purpose.shared = info.shared;
        purpose.serialisation = info.serialisation;
        if let Ok(software_type) = SoftwareType::new(info.software_type.as_str()) {
            purpose.software_type = software_type;
        }
        // A type that is requested by another name is found by its entry.
        let entry = SoftwareType::new(info.name.as_str());
        let entry = entry.unwrap_or_else(|_| purpose.software_type.clone());
        let schema = app
            .catalogue
            .schema(&purpose.release, metadata, &entry, info.shared)
            .await;
        match schema {
            Ok(Some(schema)) => {
                purpose.model = Some(Model::of_schema(&schema));
                purpose.schema = Some(schema);
            }
            Ok(None) => purpose.why = "the release has no schema of its parameters".to_owned(),
            Err(why) => purpose.why = why,
        }
        purpose
    }

    /// Parameters as an instance has them, as one document.
    pub(super) fn document(&self, held: &Texts) -> Json {
        if let Some(document @ Json::Object(_)) = unwrap(held) {
            return document;
        }
        let texts: Map<String, Json> = held
            .iter()
            .map(|(key, text)| (key.clone(), Json::from(text.as_str())))
            .collect();
        Json::Object(match &self.schema {
            Some(schema) => schema.typed(&texts),
            None => texts,
        })
    }

    /// A document as the release wants its parameters written down.
    ///
    /// # Errors
    /// A text, when they cannot be sent.
    pub(super) fn written(&self, document: &Json) -> Result<Texts, String> {
        let Json::Object(entries) = document else {
            return Err("parameters are a dictionary: write {\"name\": value}".to_owned());
        };
        let values: BTreeMap<String, Value> = match self.serialisation {
            Serialisation::JsonInXml if entries.is_empty() => BTreeMap::new(),
            Serialisation::JsonInXml => wrap(document)
                .iter()
                .map(|(key, value)| (key.clone(), Value::from(value)))
                .collect(),
            Serialisation::Xml => entries
                .iter()
                .map(|(key, value)| (key.clone(), Value::from(value)))
                .collect(),
        };
        parameters::check(&values)?;
        Ok(parameters::flattened(values))
    }
}

/// Parameters as they are typed.
pub(super) struct Editor {
    /// The fields of the form; none when they are typed as JSON.
    form: Option<Values>,
    text: String,
    errors: BTreeMap<String, String>,
    /// What is wrong with all of it.
    wrong: Vec<String>,
    /// Whether it can be sent although the schema does not take it.
    can_be_forced: bool,
}

/// What came of a form of the editor.
pub(super) enum Edited {
    /// It is shown again.
    Again(Editor),
    /// These are the parameters.
    Done(Json),
}

impl Editor {
    /// With these parameters, as a form where there is one.
    pub(super) fn with(purpose: &Purpose, document: &Json) -> Self {
        Editor {
            form: purpose.model.as_ref().map(|model| model.fill(document)),
            text: pretty(document),
            errors: BTreeMap::new(),
            wrong: Vec::new(),
            can_be_forced: false,
        }
    }

    pub(super) fn is_wrong(&self) -> bool {
        !self.errors.is_empty() || !self.wrong.is_empty()
    }

    /// Does what the pressed button says: `do`.
    pub(super) async fn pressed(app: &App, purpose: &Purpose, sent: &Sent) -> Edited {
        let button = sent.raw("do");
        match &purpose.model {
            Some(model) if sent.raw("tab") != "json" => {
                Editor::form_pressed(app, purpose, model, sent.values(), button).await
            }
            _ => Editor::json_pressed(app, purpose, sent, button).await,
        }
    }

    async fn form_pressed(
        app: &App,
        purpose: &Purpose,
        model: &Model,
        mut values: Values,
        button: &str,
    ) -> Edited {
        values.press(button);
        let mut reading = model.read(&values);
        let mut wrong = Vec::new();
        match button {
            "json" if reading.errors.is_empty() => {
                return Edited::Again(Editor {
                    form: None,
                    text: pretty(&reading.value),
                    errors: BTreeMap::new(),
                    wrong,
                    can_be_forced: false,
                });
            }
            "json" => wrong.push("What is marked below cannot be written as JSON.".to_owned()),
            "next" => match check(app, purpose, &mut reading).await {
                Ok(()) if reading.errors.is_empty() => match purpose.written(&reading.value) {
                    Ok(_) => return Edited::Done(reading.value),
                    Err(why) => wrong.push(why),
                },
                Ok(()) => {
                    let count = reading.errors.len();
                    let fields = if count == 1 { "1 field" } else { "fields" };
                    wrong.push(match count {
                        1 => format!("Look at {fields} below."),
                        count => format!("Look at {count} {fields} below."),
                    });
                }
                Err(why) => wrong.push(why),
            },
            // While somebody goes on typing, nothing is wrong yet.
            _ => reading.errors.clear(),
        }
        Edited::Again(Editor {
            form: Some(values),
            text: String::new(),
            errors: reading.errors,
            wrong,
            can_be_forced: false,
        })
    }

    async fn json_pressed(app: &App, purpose: &Purpose, sent: &Sent, button: &str) -> Edited {
        let text = sent.raw("json").replace("\r\n", "\n");
        let mut editor = Editor {
            form: None,
            text,
            errors: BTreeMap::new(),
            wrong: Vec::new(),
            can_be_forced: false,
        };
        let document = match read(&editor.text) {
            Ok(document) => document,
            Err(why) => {
                editor.wrong.push(why);
                return Edited::Again(editor);
            }
        };
        if button == "form" {
            return Edited::Again(Editor::with(purpose, &document));
        }
        if let Err(why) = purpose.written(&document) {
            editor.wrong.push(why);
            return Edited::Again(editor);
        }
        if let (Some(schema), true) = (&purpose.schema, sent.raw("force").is_empty()) {
            match app.catalogue.mistakes(schema, &document).await {
                Ok(mistakes) => {
                    let mistakes = mistakes.iter();
                    let told =
                        mistakes.map(|mistake| format!("{}: {}", mistake.path, mistake.text));
                    editor.wrong.extend(told);
                }
                Err(why) => editor.wrong.push(why),
            }
            if !editor.wrong.is_empty() {
                editor.can_be_forced = true;
                return Edited::Again(editor);
            }
        }
        Edited::Done(document)
    }

    /// The editor, within a form that is sent to `action`.
    pub(super) fn show(&self, purpose: &Purpose, action: &str) -> Markup {
        let tab = |word: &str, name: &str, is_shown: bool| {
            html! {
                button name="do" value=(word) formnovalidate aria-pressed=(is_shown)
                    class=(if is_shown { "quiet chosen" } else { "quiet" }) { (name) }
            }
        };
        html! {
            input type="hidden" name="tab" value=(if self.form.is_some() { "form" } else { "json" });
            @for text in &self.wrong { (alert(text)) }
            @if !purpose.why.is_empty() {
                (hint(format!("There is no form for these parameters: {}.", purpose.why.trim_end_matches('.'))))
            }
            @if purpose.model.is_some() {
                div.buttons.switch role="group" aria-label="How to write the parameters" {
                    (tab("form", "Form", self.form.is_some()))
                    (tab("json", "JSON", self.form.is_none()))
                }
            }
            @match (&purpose.model, &self.form) {
                (Some(model), Some(values)) => {
                    (show(model, &Look { values, errors: &self.errors, action }))
                }
                _ => {
                    div.field {
                        label for="json" { "Parameters" }
                        textarea.code id="json" name="json" rows="14" spellcheck="false"
                            aria-invalid=[(!self.wrong.is_empty()).then_some("true")]
                            aria-describedby="json-help" { (self.text) }
                        p.help id="json-help" { "JSON: a dictionary, such as {\"name\": \"value\"}." }
                    }
                    @if self.can_be_forced {
                        label.check for="force" {
                            input type="checkbox" id="force" name="force" value="1";
                            "Send them although the schema does not take them"
                        }
                    }
                }
            }
        }
    }
}

/// Blames what the whole schema does not take.
async fn check(app: &App, purpose: &Purpose, reading: &mut Reading) -> Result<(), String> {
    let Some(schema) = &purpose.schema else {
        return Ok(());
    };
    // What could not be read is told first: the rest may follow from it.
    if !reading.errors.is_empty() {
        return Ok(());
    }
    for mistake in app.catalogue.mistakes(schema, &reading.value).await? {
        reading.blame(&mistake.pointer, &mistake.text);
    }
    Ok(())
}

/// JSON as people read it.
pub(super) fn pretty(document: &Json) -> String {
    serde_json::to_string_pretty(document).unwrap_or_default()
}

/// A document as somebody typed it; nothing typed is no parameters.
pub(super) fn read(text: &str) -> Result<Json, String> {
    if text.trim().is_empty() {
        return Ok(Json::Object(Map::new()));
    }
    match serde_json::from_str(text) {
        Ok(document @ Json::Object(_)) => Ok(document),
        Ok(_) => Err("This is no dictionary: write {\"name\": value}.".to_owned()),
        Err(error) => Err(format!("This is not JSON: {error}.")),
    }
}

/// The parameters as the command line takes them.
pub(super) fn words(parameters: &Texts) -> String {
    let words: Vec<String> = parameters
        .iter()
        .map(
            |(key, text)| match (key.as_str(), serde_json::from_str::<Json>(text)) {
                (JSON_KEY, Ok(document)) => quoted(&format!("{key}={document}")),
                _ => quoted(&format!("{key}={text}")),
            },
        )
        .collect();
    words.join(" ")
}

/// A word for a shell.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}
