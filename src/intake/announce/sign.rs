//! Signatures as Standard Webhooks 1.0.0 wants them: HMAC-SHA-256 over `id.timestamp.body`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// Bytes of a secret.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Secrets at a time: the old one and the new one, and some to spare.
const KEYS_MAX: usize = 4;

/// Why a file of secrets is not good. Says nothing of what stands in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A line is no secret.
    #[error(
        "line {0} of the secret file is not \"whsec_\" and the base64 of 24 to 64 random bytes"
    )]
    Line(usize),
    /// There is none, or more than can be meant.
    #[error("the secret file must hold 1 to {KEYS_MAX} secrets, one a line")]
    Count,
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(String),
}

/// The secrets that a subscriber is signed for with.
pub struct Keys(Vec<hmac::Key>);

impl Keys {
    /// Reads the lines of a secret file. With more than one all of them sign, so that a receiver
    /// may go over from one to the other at any time.
    ///
    /// # Errors
    /// [`KeyError`] where a line is no secret, or there is none.
    pub fn parse(text: &[u8]) -> Result<Self, KeyError> {
        let text = std::str::from_utf8(text).map_err(|_| KeyError::Line(1))?;
        let mut keys = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bytes = line.strip_prefix(PREFIX).and_then(|encoded| STANDARD.decode(encoded).ok());
            let bytes = bytes.filter(|bytes| SECRET_BYTES.contains(&bytes.len()));
            keys.push(hmac::Key::new(hmac::HMAC_SHA256, &bytes.ok_or(KeyError::Line(number))?));
        }
        if keys.is_empty() || keys.len() > KEYS_MAX { Err(KeyError::Count) } else { Ok(Self(keys)) }
    }

    /// The value of `webhook-signature`. `at` is in seconds since the Unix epoch.
    pub(super) fn sign(&self, id: &str, at: i64, body: &[u8]) -> String {
        let signed = [id.as_bytes(), b".", at.to_string().as_bytes(), b".", body].concat();
        let one = |key: &hmac::Key| format!("v1,{}", STANDARD.encode(hmac::sign(key, &signed)));
        self.0.iter().map(one).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use standardwebhooks::Webhook;

    const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const NEW: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd";

    #[test]
    fn the_reference_library_makes_the_same_signature() {
        let keys = Keys::parse(format!("# rotated\n{OLD}\n\n{NEW}\n").as_bytes()).unwrap();
        let body = br#"{"test": 2432232314}"#;
        let given = keys.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        let theirs = [OLD, NEW].map(|secret| {
            let library = Webhook::new(secret).unwrap();
            library.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body).unwrap()
        });
        assert_eq!(given, theirs.join(" "));
    }

    #[test]
    fn what_is_no_secret_is_named_by_its_line_alone() {
        let wrong = |text: &str| Keys::parse(text.as_bytes()).err().map(|error| error.to_string());
        assert_eq!(wrong(OLD), None);
        let line = |n| {
            format!(
                "line {n} of the secret file is not \"whsec_\" and the base64 of 24 to 64 random bytes"
            )
        };
        assert_eq!(wrong("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), Some(line(1)));
        assert_eq!(wrong(&format!("{OLD}\nwhsec_c2hvcnQ=\n")), Some(line(2)), "5 bytes");
        let count = "the secret file must hold 1 to 4 secrets, one a line";
        assert_eq!(wrong("\n# none\n"), Some(count.to_owned()));
        assert_eq!(wrong(&format!("{OLD}\n").repeat(5)), Some(count.to_owned()));
    }
}
