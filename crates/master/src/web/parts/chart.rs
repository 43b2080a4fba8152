//! Pictures: how full something is, and how it went. Drawn by attributes, as the policy of the pages
//! wants it; what they show is in their titles too.

use maud::{Markup, html};

/// How full something is. The words stand beside it.
pub(in crate::web) fn bar(used: i64, total: i64, words: &str) -> Markup {
    /// Above this it is nearly full, in percent.
    const TIGHT: i64 = 85;
    let percent = match total {
        total if total > 0 => (used.max(0).saturating_mul(100) / total).min(100),
        _ => 0,
    };
    // What is used at all is seen.
    let width = if used > 0 { percent.max(2) } else { 0 };
    let class = if percent >= TIGHT { "bar tight" } else { "bar" };
    html! {
        span class=(class) {
            svg viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true" {
                rect.rest width="100" height="6" {}
                rect.used width=(width) height="6" {}
            }
            span { (words) }
        }
    }
}

/// How a number went, with its name and what it was last; nothing without values.
pub(in crate::web) fn chart(name: &str, unit: &str, values: &[f64]) -> Option<Markup> {
    let last = values.last()?;
    let most = values.iter().copied().fold(0.0, f64::max);
    let words = format!("{name}: {last:.1} {unit} last, {most:.1} {unit} at most");
    Some(html! {
        figure.chart {
            figcaption { span { (name) } strong { (format!("{last:.1} {unit}")) } }
            (sparkline(values, &words))
        }
    })
}

/// How a number went, the latest at the right. `words` say what is seen.
fn sparkline(values: &[f64], words: &str) -> Markup {
    const WIDTH: f64 = 240.0;
    const HEIGHT: f64 = 48.0;
    const EDGE: f64 = 3.0;
    let most = values.iter().copied().fold(0.0, f64::max);
    let scale = if most > 0.0 { most } else { 1.0 };
    let step = WIDTH / values.len().saturating_sub(1).max(1) as f64;
    let point = |(index, value): (usize, &f64)| {
        let x = step * index as f64;
        let y = HEIGHT - EDGE - (HEIGHT - 2.0 * EDGE) * (value.max(0.0) / scale);
        format!("{x:.1},{y:.1}")
    };
    let mut points: Vec<String> = values.iter().enumerate().map(point).collect();
    if let [only] = points.as_slice() {
        // One day is a line too.
        let y = only.split_once(',').map_or("0", |(_, y)| y);
        points = vec![format!("0,{y}"), format!("{WIDTH},{y}")];
    }
    let line = points.join(" ");
    let area = format!("0,{HEIGHT} {line} {WIDTH},{HEIGHT}");
    html! {
        svg.spark viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="img"
            aria-label=(words) {
            title { (words) }
            @if !values.is_empty() {
                polygon.area points=(area) {}
                polyline.line points=(line) {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_never_too_wide() {
        let width = |used, total| {
            let made = bar(used, total, "").into_string();
            let (_, rest) = made
                .split_once("class=\"used\" width=\"")
                .unwrap_or_default();
            rest.split_once('"').map(|(width, _)| width.to_owned())
        };
        for (used, total, expected) in [
            (0, 10, "0"),
            (1, 1_000, "2"),
            (5, 10, "50"),
            (11, 10, "100"),
            (i64::MAX, 10, "100"),
            (3, 0, "2"),
            (-1, 10, "0"),
        ] {
            assert_eq!(
                width(used, total).as_deref(),
                Some(expected),
                "{used}/{total}"
            );
        }
    }

    #[test]
    fn lines_of_any_length() {
        assert!(!sparkline(&[], "none").into_string().contains("points"));
        let one = sparkline(&[5.0], "one").into_string();
        assert!(one.contains("points=\"0,3.0 240,3.0\""), "{one}");
        let two = sparkline(&[0.0, 2.0], "two").into_string();
        assert!(two.contains("points=\"0.0,45.0 240.0,3.0\""), "{two}");
        assert!(
            !sparkline(&[f64::NAN, -1.0], "")
                .into_string()
                .contains("NaN")
        );
    }
}
