//! The part of RFC 6570 that Masters use in their root documents (P 4.2).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What RFC 6570 calls unreserved stays as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A variable's value.
pub(super) enum Variable<'a> {
    Text(&'a str),
    List(&'a [&'a str]),
}

/// Expands `{a}`, `{?a,b*}` and `{&a,b*}`; variables that are not given vanish.
pub(super) fn expand(template: &str, variables: &[(&str, Variable<'_>)]) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let Some((expression, tail)) = after.split_once('}') else {
            out.push('{');
            rest = after;
            break;
        };
        expand_expression(expression, variables, &mut out);
        rest = tail;
    }
    out.push_str(rest);
    out
}

fn expand_expression(expression: &str, variables: &[(&str, Variable<'_>)], out: &mut String) {
    let (named, first, names) = match expression.as_bytes().first() {
        Some(b'?') => (true, "?", &expression[1..]),
        Some(b'&') => (true, "&", &expression[1..]),
        _ => (false, "", expression),
    };
    let mut separator = first;
    for name in names.split(',') {
        let (name, exploded) = match name.strip_suffix('*') {
            Some(name) => (name, true),
            None => (name, false),
        };
        let Some((_, value)) = variables.iter().find(|(known, _)| *known == name) else {
            continue;
        };
        let texts: Vec<String> = match value {
            Variable::Text(text) => vec![escape(text)],
            Variable::List(items) if exploded && named => {
                items.iter().map(|item| escape(item)).collect()
            }
            Variable::List(items) => {
                vec![
                    items
                        .iter()
                        .map(|item| escape(item))
                        .collect::<Vec<_>>()
                        .join(","),
                ]
            }
        };
        for text in texts {
            out.push_str(separator);
            if named {
                out.push_str(name);
                out.push('=');
            }
            out.push_str(&text);
            separator = if named { "&" } else { "," };
        }
    }
}

fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_masters_templates_expand() {
        let variables = [
            ("query", Variable::Text("title:=\"a b\"")),
            ("select_list", Variable::List(&["title", "url_string"])),
        ];
        for (template, url) in [
            (
                "http://m/hateoas/?mode=search&query={query}&select_list={select_list}",
                "http://m/hateoas/?mode=search&query=title%3A%3D%22a%20b%22&select_list=title,url_string",
            ),
            (
                "http://m/h?mode=search{&query,select_list*,limit*}",
                "http://m/h?mode=search&query=title%3A%3D%22a%20b%22&select_list=title&select_list=url_string",
            ),
            (
                "http://m/h{?query}",
                "http://m/h?query=title%3A%3D%22a%20b%22",
            ),
            ("http://m/{unknown}x{", "http://m/x{"),
        ] {
            assert_eq!(expand(template, &variables), url);
        }
    }
}
