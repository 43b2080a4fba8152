//! The query string of a hypermedia request.

use crate::{Fields, Problem};

use super::Query;

/// Most rows of one answer, whatever is asked for.
pub const ROWS_MAX: usize = 10_000;
/// Rows of an answer when nobody says how many, with upstream's full Master (P 4.3).
pub const LIMIT_DEFAULT: usize = 40;
/// Most columns of a row.
pub const COLUMNS_MAX: usize = 40;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask<'a> {
    /// The root document.
    Root,
    /// Documents that fit a query.
    Search(Search<'a>),
    /// The document of this relative URL, as the search gave it.
    Traverse(&'a str),
}

/// A search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search<'a> {
    /// What is looked for.
    pub query: Query<'a>,
    /// The columns wanted, in their order, each once; none when nobody says.
    pub columns: Vec<&'a str>,
    /// Rows that are left out at the beginning.
    pub skip: usize,
    /// Most rows that are given.
    pub limit: usize,
}

impl<'a> Ask<'a> {
    /// Reads the query string. Columns come exploded or joined by commas, as the two forms of the
    /// root document's templates have it. `limit` is the default number of rows.
    ///
    /// # Errors
    /// 400 for another mode, a missing field, or a query that is not understood.
    pub fn read(arguments: &'a Fields<'_>, limit: usize) -> Result<Self, Problem> {
        match arguments.get("mode") {
            None | Some("root") => Ok(Ask::Root),
            Some("search") => Ok(Ask::Search(search(arguments, limit)?)),
            Some("traverse") => Ok(Ask::Traverse(arguments.need("relative_url")?)),
            Some(other) => Err(Problem::bad_request(format!(
                "Unhandled mode: {other:.100}"
            ))),
        }
    }
}

fn search<'a>(arguments: &'a Fields<'_>, limit: usize) -> Result<Search<'a>, Problem> {
    let text = arguments.need("query")?;
    let query = Query::parse(text)
        .ok_or_else(|| Problem::bad_request(format!("Unhandled query: {text:.1000}")))?;
    let mut columns: Vec<&str> = Vec::new();
    for column in arguments
        .all("select_list")
        .flat_map(|list| list.split(','))
        .map(str::trim)
    {
        if columns.len() < COLUMNS_MAX && !column.is_empty() && !columns.contains(&column) {
            columns.push(column);
        }
    }
    let mut numbers = arguments
        .all("limit")
        .flat_map(|list| list.split(','))
        .map_while(|number| number.trim().parse::<usize>().ok());
    // One number is how many; two are from where, and how many.
    let (skip, limit) = match (numbers.next(), numbers.next()) {
        (None, _) => (0, limit),
        (Some(limit), None) => (0, limit),
        (Some(skip), Some(limit)) => (skip, limit),
    };
    Ok(Search {
        query,
        columns,
        skip,
        limit: limit.min(ROWS_MAX),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const TREES: &str = "query=portal_type:%22Instance+Tree%22+AND+validation_state:validated";

    #[test]
    fn the_three_modes() {
        let none = Fields::parse(b"");
        assert_eq!(Ask::read(&none, 40), Ok(Ask::Root));
        let traverse = Fields::parse(b"mode=traverse&relative_url=a/b&view=slaposjs_view");
        assert_eq!(Ask::read(&traverse, 40), Ok(Ask::Traverse("a/b")));
        for bad in [
            "mode=traverse",
            "mode=search",
            "mode=search&query=x",
            "mode=newContent",
        ] {
            let fields = Fields::parse(bad.as_bytes());
            assert_eq!(Ask::read(&fields, 40).unwrap_err().status.as_u16(), 400);
        }
    }

    #[test]
    fn columns_and_limits() {
        for (more, columns, skip, limit) in [
            ("", &[][..], 0, 40),
            (
                "&select_list=title,+url_string",
                &["title", "url_string"],
                0,
                40,
            ),
            (
                "&select_list=title&select_list=uid&select_list=title&limit=1000",
                &["title", "uid"],
                0,
                1000,
            ),
            ("&limit=x", &[], 0, 40),
            ("&limit=99999999", &[], 0, ROWS_MAX),
            ("&limit=5&limit=7", &[], 5, 7),
            ("&limit=5,7", &[], 5, 7),
        ] {
            let text = format!("mode=search&{TREES}{more}");
            let fields = Fields::parse(text.as_bytes());
            assert_eq!(
                Ask::read(&fields, LIMIT_DEFAULT),
                Ok(Ask::Search(Search {
                    query: Query::Trees(None),
                    columns: columns.to_vec(),
                    skip,
                    limit
                })),
                "{more}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_query_string_is_read_or_refused(text in "(mode=(search|traverse)&)?.{0,100}") {
            let _ = Ask::read(&Fields::parse(text.as_bytes()), 40);
        }
    }
}
