//! What nodes say they used (P 6.12).

/// The resource of a report that is the load of the processors, in percent.
pub const CPU_PERCENT: &str = "service_module/cpu_load_percent";
/// The resource that is the memory in use, in bytes.
pub const MEMORY_BYTES: &str = "service_module/memory_used";

/// How much of a resource something used, as a report says it (P 6.12). Reports were read as XML
/// before they were kept; of what is not found here nothing is drawn.
pub fn quantity(report: &str, resource: &str, reference: &str) -> Option<f64> {
    let movements = report.split("<movement>").skip(1);
    let mut found = movements.filter(|movement| {
        inside(movement, "resource") == Some(resource)
            && inside(movement, "reference") == Some(reference)
    });
    let quantity: f64 = inside(found.next()?, "quantity")?.parse().ok()?;
    quantity.is_finite().then_some(quantity)
}

/// The text of the first element of a name.
fn inside<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    Some(rest.split_once("</")?.0.trim())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_report_is_read_as_nodes_write_it() {
        let report = "<journal><transaction type=\"t\"><reference>2026-05-28-global</reference>\
             <movement><resource>service_module/cpu_load_percent</resource><title>C</title>\
             <reference>slapuser0</reference><quantity>1.0</quantity></movement>\
             <movement><resource>service_module/cpu_load_percent</resource><title>C</title>\
             <reference>COMP-1</reference><quantity>12.5</quantity></movement>\
             </transaction></journal>";
        let of = |resource, reference| quantity(report, resource, reference);
        let cpu = "service_module/cpu_load_percent";
        assert_eq!(of(cpu, "COMP-1"), Some(12.5));
        assert_eq!(of(cpu, "slapuser0"), Some(1.0));
        assert_eq!(of(cpu, "COMP-2"), None);
        assert_eq!(of("service_module/memory_used", "COMP-1"), None);
        for broken in [
            "",
            "<movement>",
            "<movement><resource>",
            "<movement><quantity>NaN</quantity>",
        ] {
            assert_eq!(quantity(broken, cpu, "COMP-1"), None, "{broken}");
        }
    }
}
