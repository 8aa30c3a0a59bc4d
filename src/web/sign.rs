//! Signatures over what must be believed without us: Ed25519, as JSON Web Signatures.
//!
//! The key is derived from the master key, so that there is no second secret to keep, and a daemon
//! that was restored signs as the one before it. What is signed is the caller's to say; the form is
//! the compact one of RFC 7515 with the algorithm of RFC 8037, which libraries of any language
//! verify.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

/// The seed is no seed of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signing key could not be derived from the master key")]
pub struct NoKey;

/// Signs with one key.
pub struct Signer {
    pair: Ed25519KeyPair,
    id: String,
}

impl Signer {
    /// A signer whose key is made of `seed`, which is secret.
    ///
    /// # Errors
    /// [`NoKey`], never for 32 bytes.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, NoKey> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| NoKey)?;
        // The thumbprint of RFC 7638: members in order, without spaces.
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let id = URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes()));
        Ok(Self { pair, id })
    }

    /// The public key, as a set of one (RFC 7517).
    #[must_use]
    pub fn key_set(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key());
        json!({"keys": [{
            "kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.id, "use": "sig", "alg": "EdDSA",
        }]})
    }

    /// `payload` signed, in the compact form; `kind` stands in its header as `typ`.
    #[must_use]
    pub fn sign(&self, kind: &str, payload: &[u8]) -> String {
        let header = json!({"alg": "EdDSA", "kid": self.id, "typ": kind}).to_string();
        let [header, payload] =
            [header.as_bytes(), payload].map(|part| URL_SAFE_NO_PAD.encode(part));
        let signed = format!("{header}.{payload}");
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_8037_is_signed_as_it_stands_there() {
        let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        let signer = Signer::from_seed(&seed.try_into().unwrap()).unwrap();
        let set = signer.key_set();
        assert_eq!(set["keys"][0]["x"], "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        // Appendix A.3: the thumbprint.
        assert_eq!(set["keys"][0]["kid"], "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        // Appendix A.4, whose header has nothing but the algorithm.
        let signed = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature = URL_SAFE_NO_PAD.encode(signer.pair.sign(signed.as_bytes()));
        assert_eq!(
            signature,
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
        );
        let whole = signer.sign("a kind", b"Example of Ed25519 signing");
        let parts: Vec<&str> = whole.split('.').collect();
        assert_eq!((parts.len(), parts[1]), (3, "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"));
    }
}
