//! Lists: a table that becomes cards on a phone, and the way from page to page.

use maud::{Markup, html};

use crate::store::Page as Lines;
use crate::web::{Icon, Visit};

/// A column.
#[derive(Debug, Clone, Copy)]
pub(in crate::web) struct Column {
    name: &'static str,
    class: Option<&'static str>,
}

impl Column {
    /// With words in it.
    pub(in crate::web) const fn words(name: &'static str) -> Self {
        Column { name, class: None }
    }

    /// With numbers in it, which stand under one another.
    pub(in crate::web) const fn numbers(name: &'static str) -> Self {
        Column {
            name,
            class: Some("numeric"),
        }
    }

    /// With buttons in it: its name is for those who do not see it.
    pub(in crate::web) const fn actions() -> Self {
        Column {
            name: "Actions",
            class: Some("actions"),
        }
    }

    /// With long words in it, broken anywhere.
    pub(in crate::web) const fn long(name: &'static str) -> Self {
        Column {
            name,
            class: Some("long"),
        }
    }
}

/// A table. The first cell of a row names it.
pub(in crate::web) struct Table<'a> {
    caption: &'a str,
    columns: &'a [Column],
    rows: Vec<Vec<Markup>>,
}

impl<'a> Table<'a> {
    /// `caption` is for those who do not see where it stands.
    pub(in crate::web) fn new(caption: &'a str, columns: &'a [Column]) -> Self {
        Table {
            caption,
            columns,
            rows: Vec::new(),
        }
    }

    /// One more row, a cell for each column.
    pub(in crate::web) fn row(&mut self, cells: Vec<Markup>) {
        self.rows.push(cells);
    }

    /// Whether it has no row.
    pub(in crate::web) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl maud::Render for Table<'_> {
    fn render(&self) -> Markup {
        html! {
            table.list {
                caption { (self.caption) }
                thead {
                    tr {
                        @for column in self.columns {
                            th scope="col" class=[column.class] {
                                @if column.class == Some("actions") { span.unseen { (column.name) } }
                                @else { (column.name) }
                            }
                        }
                    }
                }
                tbody {
                    @for row in &self.rows {
                        tr {
                            @for (index, (column, cell)) in self.columns.iter().zip(row).enumerate() {
                                @if index == 0 {
                                    th scope="row" class=[column.class] { (cell) }
                                } @else {
                                    td class=[column.class] data-label=(column.name) { (cell) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The part of a list that is shown: pages of one size, as the database counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::web) struct Pager {
    number: i64,
    size: i64,
}

impl Pager {
    /// The page that the argument `page` names, counted from one.
    pub(in crate::web) fn of(argument: &str, size: i64) -> Self {
        const MOST: i64 = 1_000_000;
        let number = argument.parse::<i64>().unwrap_or(1).clamp(1, MOST);
        Pager { number, size }
    }

    /// What to ask the store for: one more than is shown, so that it is known whether there is more.
    pub(in crate::web) fn lines(self) -> Lines {
        Lines {
            skip: (self.number - 1) * self.size,
            limit: self.size + 1,
        }
    }

    /// Leaves what is shown of what was asked for; the way to the pages before and after.
    /// `arguments` are those of the list that the way keeps.
    pub(in crate::web) fn cut<T>(
        self,
        found: &mut Vec<T>,
        visit: &Visit,
        arguments: &[(&str, &str)],
    ) -> Markup {
        let size = usize::try_from(self.size).unwrap_or(0);
        let is_more = found.len() > size;
        found.truncate(size);
        let to = |number: i64| {
            let number = number.to_string();
            let mut all = arguments.to_vec();
            all.push(("page", if number == "1" { "" } else { &number }));
            visit.to_with(&visit.path, &all)
        };
        html! {
            @if is_more || self.number > 1 {
                nav.pager aria-label="Pages" {
                    @if self.number > 1 {
                        a.button rel="prev" href=(to(self.number - 1)) { (Icon::Previous) "Previous" }
                    }
                    span.muted { "Page " (self.number) }
                    @if is_more {
                        a.button rel="next" href=(to(self.number + 1)) { "Next" (Icon::Next) }
                    }
                }
            }
        }
    }
}
