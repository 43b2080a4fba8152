//! Which parameters and connection parameters are secrets: nobody says so, but their names do.

/// What a name says that its value is nobody else's business.
const SECRETS: &[&str] = &[
    "passw",
    "secret",
    "token",
    "credential",
    "private",
    "api-key",
    "api_key",
    "apikey",
];
const MASK: &str = "********";

/// Whether the name of a value, or the value itself, says that it is a secret.
pub fn is_secret(name: &str, value: &str) -> bool {
    let lower = name.to_lowercase();
    let says = SECRETS.iter().any(|word| lower.contains(word))
        || matches!(lower.as_str(), "key" | "pass")
        || lower.ends_with("-key")
        || lower.ends_with("_key")
        || value.contains("PRIVATE KEY-----");
    says && !value.is_empty()
}

/// A value as it may stand on a screen: passwords are hidden, those in URLs too.
pub fn masked(name: &str, value: &str) -> String {
    if is_secret(name, value) {
        return MASK.to_owned();
    }
    // scheme://user:password@host
    if let Some((scheme, rest)) = value.split_once("://")
        && let Some((who, place)) = rest.split_once('@')
        && let Some((user, _)) = who.split_once(':')
        && !who.contains('/')
    {
        return format!("{scheme}://{user}:{MASK}@{place}");
    }
    value.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_stand_on_a_screen() {
        for (name, value, shown) in [
            ("password", "x", MASK),
            ("Monitor-Password", "x", MASK),
            ("access_token", "x", MASK),
            ("tls-key", "x", MASK),
            ("keyboard", "x", "x"),
            ("password", "", ""),
            ("url", "http://a/b", "http://a/b"),
            ("url", "http://me:pw@a/b", "http://me:********@a/b"),
            ("url", "http://a/b:c@d", "http://a/b:c@d"),
            ("pem", "-----BEGIN PRIVATE KEY-----", MASK),
        ] {
            assert_eq!(masked(name, value), shown, "{name}: {value}");
        }
    }
}
