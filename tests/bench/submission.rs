//! The requests that the benchmark sends: 700 bytes of JSON each, with a random idempotency
//! key, a random institution of 3,000 and a random insured person, so that nothing can be
//! cached and every transaction has its own ordering key.
//!
//! A request is made by overwriting a few places of fixed width in a prepared text: the
//! generator must cost less than what it measures.

use std::fmt::Write as _;
use std::io::Write as _;
use std::rc::Rc;

/// The size of one JSON body.
pub(crate) const BODY_BYTES: usize = 700;
/// How many institutions submit.
pub(crate) const INSTITUTIONS: usize = 3000;

const IDEMPOTENCY: &str = "00000000000000000000000000000000";
const INSURED: &str = "person-0000000000000000";
const AMOUNT: &str = "100000.00";

/// One JSON body, with its variable places at zero.
fn body() -> String {
    let mut text = format!(
        "{{\"business\":\"settlement.outpatient\",\"operation\":\"advice\",\"insured\":\"{INSURED}\",\
         \"channel\":\"system\",\"occurred_at\":\"2026-01-05T10:00:00+08:00\",\
         \"amount\":\"{AMOUNT}\",\"payload\":{{\"items\":["
    );
    let close = "]}}";
    let mut number = 1;
    while text.len() + 70 < BODY_BYTES {
        let comma = if number > 1 { "," } else { "" };
        // Writing to a String cannot fail.
        let written = write!(
            text,
            "{comma}{{\"code\":\"XB05BA{number:04}\",\"count\":{number},\"unit_price\":\"12.50\"}}"
        );
        debug_assert!(written.is_ok());
        number += 1;
    }
    let filler = "x".repeat(BODY_BYTES - text.len() - close.len() - 3);
    text.push_str(&format!(",\"{filler}\""));
    text.push_str(close);
    text
}

/// Writes the requests of one connection.
pub(crate) struct Writer {
    keys: Rc<[String]>,
    random: fastrand::Rng,
    request: Vec<u8>,
    bearer_at: Option<usize>,
    idempotency_at: usize,
    insured_at: usize,
    amount_at: usize,
}

impl Writer {
    /// With the institutions' API `keys` (none for a server that asks for none).
    pub(crate) fn new(keys: Rc<[String]>, seed: u64) -> Self {
        let body = body();
        let bearer =
            keys.first().map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
        let request = format!(
            "POST /v1/transactions HTTP/1.1\r\nHost: localhost\r\n{bearer}\
             Idempotency-Key: {IDEMPOTENCY}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let place = |what: &str| request.find(what).unwrap_or(0);
        let bearer_at = keys.first().map(|key| place(key));
        Self {
            bearer_at,
            idempotency_at: place(IDEMPOTENCY),
            insured_at: place(INSURED) + "person-".len(),
            amount_at: place(AMOUNT),
            keys,
            random: fastrand::Rng::with_seed(seed),
            request: request.into_bytes(),
        }
    }

    /// The next request, whole.
    pub(crate) fn single(&mut self) -> &[u8] {
        if let Some(at) = self.bearer_at {
            let key = &self.keys[self.random.usize(..self.keys.len())];
            self.request[at..at + key.len()].copy_from_slice(key.as_bytes());
        }
        put_hex(&mut self.request[self.idempotency_at..][..16], self.random.u64(..));
        put_hex(&mut self.request[self.idempotency_at + 16..][..16], self.random.u64(..));
        put_hex(&mut self.request[self.insured_at..][..16], self.random.u64(..));
        let digit = b'1' + self.random.u8(..9);
        self.request[self.amount_at] = digit;
        &self.request
    }

    /// A batch of `lines` submissions by one institution, whole.
    pub(crate) fn batch(&mut self, lines: usize) -> Vec<u8> {
        let body_at = self.request.len() - BODY_BYTES;
        let mut body = Vec::with_capacity(lines * (BODY_BYTES + 64));
        for _ in 0..lines {
            self.single();
            body.extend_from_slice(b"{\"idempotency_key\":\"");
            body.extend_from_slice(&self.request[self.idempotency_at..][..IDEMPOTENCY.len()]);
            body.extend_from_slice(b"\",");
            body.extend_from_slice(&self.request[body_at + 1..]);
            body.push(b'\n');
        }
        let bearer = self.bearer_at.map(|at| {
            let key = String::from_utf8_lossy(&self.request[at..at + self.keys[0].len()]);
            format!("Authorization: Bearer {key}\r\n")
        });
        let mut request = Vec::with_capacity(body.len() + 256);
        let written = write!(
            request,
            "POST /v1/transactions/batch HTTP/1.1\r\nHost: localhost\r\n{}\
             Content-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n",
            bearer.unwrap_or_default(),
            body.len()
        );
        // Writing to a vector cannot fail.
        debug_assert!(written.is_ok());
        request.extend_from_slice(&body);
        request
    }
}

fn put_hex(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}
