//! What the words of a failed TLS handshake mean for the one who has to mend it.

/// The way out of a certificate that was not taken, told by the words of the TLS library. `address` and `ca` are the keys of the profile that name the
/// server and the authorities that are trusted beside those of this machine.
#[must_use]
pub fn certificate_hint(cause: &str, address: &str, ca: &str) -> Option<String> {
    let said = |words: &[&str]| words.iter().any(|word| cause.contains(word));
    if said(&["not valid for name", "NotValidForName"]) {
        return Some(format!(
            "write a name that the server's certificate is for into {address}, or give the server a certificate for this one"
        ));
    }
    if said(&["UnknownIssuer", "unable to get local issuer"]) {
        return Some(format!(
            "the server's certificate is of an authority that this machine does not know: name its file in PEM with {ca}"
        ));
    }
    if said(&["CaUsedAsEndEntity"]) {
        return Some("give the server a certificate of its own: it shows that of an authority".to_owned());
    }
    if said(&["certificate expired", "NotValidYet", "not valid yet", "invalid peer certificate: Expired"]) {
        return Some("renew the server's certificate; if it is good, set this machine's clock (NTP)".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_library_become_a_way_out() {
        let hint = |cause: &str| certificate_hint(cause, "`endpoint`", "`ca`").unwrap_or_default();
        for (cause, said) in [
            ("invalid peer certificate: certificate not valid for name \"localhost\"", "into `endpoint`"),
            ("invalid peer certificate: NotValidForName", "into `endpoint`"),
            ("invalid peer certificate: UnknownIssuer", "with `ca`"),
            ("invalid peer certificate: certificate expired: verification time 1", "renew"),
        ] {
            assert!(hint(cause).contains(said), "{cause}: {}", hint(cause));
        }
        assert_eq!(hint("connection refused"), "");
    }
}
