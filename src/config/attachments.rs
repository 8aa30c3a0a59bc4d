//! What the configuration says of files: how much of them is kept, and what each line of the
//! catalogue takes.

use super::model::Attachments;
use super::raw::Reader;
use crate::domain::attachment::{Format, Rules};
use std::time::Duration;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const DAY: Duration = Duration::from_secs(86_400);

/// The bounds on what is kept.
pub(super) fn read_attachments(mut r: Reader<'_>) -> Attachments {
    let attachments = Attachments {
        bytes_max: r.number("bytes_max", KIB..=64 * MIB),
        institution_bytes_max: r.number("institution_bytes_max", KIB..=MIB * MIB),
        files_max: r.number("files_max", 1..=100_000_000),
        unnamed_after: r.duration("unnamed_after", Duration::from_secs(1)..=366 * DAY),
        upload_timeout: r.duration("upload_timeout", Duration::from_secs(1)..=DAY / 24),
        formats: r.list("formats"),
    };
    if attachments.formats.is_empty() {
        r.error("formats", Some("[]".to_owned()), "name a format");
    }
    if attachments.institution_bytes_max < attachments.bytes_max {
        let shown = Some(attachments.institution_bytes_max.to_string());
        r.error("institution_bytes_max", shown, "must not be below attachments.bytes_max");
    }
    r.finish();
    attachments
}

/// What a line takes.
pub(super) fn read_rules(r: &mut Reader<'_>) -> Option<Rules> {
    let kept = r.parsed("attachments");
    let formats: Vec<Format> = r.list("attachment_formats");
    let picture_bytes_min = r.number("picture_bytes_min", 0..=64 * MIB);
    let picture_bytes_max = r.number("picture_bytes_max", 0..=64 * MIB);
    let total_bytes_max = r.number("attachment_bytes_total_max", 0..=2048 * MIB);
    if picture_bytes_max > 0 && picture_bytes_max < picture_bytes_min {
        let shown = Some(picture_bytes_max.to_string());
        r.error("picture_bytes_max", shown, "must not be below picture_bytes_min");
    }
    Some(Rules { kept: kept?, formats, picture_bytes_min, picture_bytes_max, total_bytes_max })
}
