//! A picture of an instance tree: who requested whom, and who serves a shared one. Columns are the
//! steps from the root; every box leads to what is told of its instance.

use maud::{Markup, html};

use crate::web::parts::Badge;

/// Boxes drawn at most: beyond that a list is the better picture.
pub(super) const BOXES_MAX: usize = 60;

const WIDTH: usize = 248;
const HEIGHT: usize = 60;
const BETWEEN_COLUMNS: usize = 56;
const BETWEEN_ROWS: usize = 16;
/// Around everything: focus rings are drawn there too.
const EDGE: usize = 4;
/// Letters that fit into a box.
const TITLE_CHARS: usize = 30;
const PLACE_CHARS: usize = 32;

/// An instance of the picture.
pub(super) struct Member {
    pub(super) title: String,
    pub(super) badge: Badge,
    /// Where it is.
    pub(super) place: String,
    /// The anchor of what is told of it.
    pub(super) anchor: String,
    /// Who requested it, by its number.
    pub(super) requester: Option<usize>,
    /// Who serves it, by its number, if that is of this tree.
    pub(super) host: Option<usize>,
}

/// Where a box is: its column, and its row in halves, so that a requester stands between those it
/// requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spot {
    column: usize,
    halves: usize,
}

/// The place of each box. Those requested stand one column to the right of who did, in their order;
/// whoever requested nobody has a row of its own. `requesters` come before those they requested.
fn places(requesters: &[Option<usize>]) -> Vec<Spot> {
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); requesters.len()];
    let mut roots = Vec::new();
    for (index, requester) in requesters.iter().enumerate() {
        match requester {
            Some(requester) if *requester < index => children[*requester].push(index),
            _ => roots.push(index),
        }
    }
    let mut spots = vec![
        Spot {
            column: 0,
            halves: 0
        };
        requesters.len()
    ];
    // Without recursion: a tree may be as deep as a chain of a hundred.
    let mut order = Vec::new();
    let mut open: Vec<(usize, usize)> = roots.iter().rev().map(|root| (*root, 0)).collect();
    while let Some((index, column)) = open.pop() {
        spots[index].column = column;
        order.push(index);
        open.extend(
            children[index]
                .iter()
                .rev()
                .map(|child| (*child, column + 1)),
        );
    }
    let mut row = 0;
    for index in &order {
        if children[*index].is_empty() {
            spots[*index].halves = row * 2;
            row += 1;
        }
    }
    for index in order.iter().rev() {
        if let (Some(first), Some(last)) = (children[*index].first(), children[*index].last()) {
            spots[*index].halves = (spots[*first].halves + spots[*last].halves) / 2;
        }
    }
    spots
}

fn x(spot: Spot) -> usize {
    EDGE + spot.column * (WIDTH + BETWEEN_COLUMNS)
}

fn y(spot: Spot) -> usize {
    EDGE + spot.halves * (HEIGHT + BETWEEN_ROWS) / 2
}

/// The beginning of a text, as much as fits.
fn beginning(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(chars - 1).collect();
    short.push('…');
    short
}

/// The picture. Members come after who requested them, the root first.
pub(super) fn picture(members: &[Member]) -> Markup {
    let requesters: Vec<_> = members.iter().map(|member| member.requester).collect();
    let spots = places(&requesters);
    let width = spots.iter().map(|spot| x(*spot) + WIDTH).max().unwrap_or(0) + EDGE;
    let height = spots
        .iter()
        .map(|spot| y(*spot) + HEIGHT)
        .max()
        .unwrap_or(0)
        + EDGE;
    let middle = |spot: Spot| y(spot) + HEIGHT / 2;
    let request = |from: Spot, to: Spot| {
        let (begin, end) = (x(from) + WIDTH, x(to));
        let bend = (begin + end) / 2;
        let (from, to) = (middle(from), middle(to));
        format!("M{begin} {from}C{bend} {from} {bend} {to} {end} {to}")
    };
    let serve = |from: Spot, to: Spot| {
        let (begin, end) = (x(from) + WIDTH, x(to) + WIDTH);
        let bend = begin.max(end) + BETWEEN_COLUMNS / 2;
        let (from, to) = (middle(from), middle(to));
        format!("M{begin} {from}C{bend} {from} {bend} {to} {end} {to}")
    };
    // Room for the arcs at the right.
    let width = width + BETWEEN_COLUMNS / 2;
    html! {
        div.picture tabindex="0" role="region" aria-label="The instances, as a picture" {
            svg width=(width) height=(height) viewBox=(format!("0 0 {width} {height}")) {
                @for (member, spot) in members.iter().zip(&spots) {
                    @if let Some(requester) = member.requester {
                        path.edge d=(request(spots[requester], *spot)) {}
                    }
                    @if let Some(host) = member.host {
                        path.edge.serves d=(serve(spots[host], *spot)) {}
                    }
                }
                @for (member, spot) in members.iter().zip(&spots) {
                    a href=(format!("#{}", member.anchor)) {
                        title { (member.title) ": " (member.badge.word) " " (member.place) }
                        rect.box x=(x(*spot)) y=(y(*spot)) width=(WIDTH) height=(HEIGHT) rx="8" {}
                        rect class=(format!("state {}", member.badge.tone.class()))
                            x=(x(*spot)) y=(y(*spot) + 10) width="4" height=(HEIGHT - 20) rx="2" {}
                        text.name x=(x(*spot) + 16) y=(y(*spot) + 25) {
                            (beginning(&member.title, TITLE_CHARS))
                        }
                        text.place x=(x(*spot) + 16) y=(y(*spot) + 45) {
                            tspan class=(member.badge.tone.class()) { (member.badge.word) }
                            " " (beginning(&member.place, PLACE_CHARS - member.badge.word.len().min(12)))
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn who_requested_stands_between_those_it_requested() {
        let spots = places(&[None, Some(0), Some(0), Some(1), Some(1), Some(0)]);
        let found: Vec<_> = spots
            .iter()
            .map(|spot| (spot.column, spot.halves))
            .collect();
        assert_eq!(found, [(0, 3), (1, 1), (1, 4), (2, 0), (2, 2), (1, 6)]);
    }

    proptest! {
        #[test]
        fn no_two_boxes_meet(choices in proptest::collection::vec(0usize..1000, 0..60)) {
            let requesters: Vec<_> = std::iter::once(None)
                .chain(choices.iter().enumerate().map(|(index, choice)| Some(choice % (index + 1))))
                .collect();
            let spots = places(&requesters);
            for (index, one) in spots.iter().enumerate() {
                if let Some(requester) = requesters[index] {
                    prop_assert_eq!(one.column, spots[requester].column + 1);
                }
                for other in &spots[..index] {
                    let apart = one.column != other.column || one.halves.abs_diff(other.halves) >= 2;
                    prop_assert!(apart, "{:?} {:?}", one, other);
                }
            }
        }
    }
}
