//! Files that belong to submissions: their digests, what they are, and the rules for them.
//!
//! What a file is, is told by its first bytes and never by its name; a name says what its submitter
//! thinks it is, and the two must agree. Where the bytes are kept is not known here. K is 1,024
//! bytes, as in the guides of the portals.

use super::cell::words;
use std::fmt;
use std::str::FromStr;

words!(
    /// A format of files, as the end of a name says it (in upper or lower case).
    Format, "format of attachments", {
        /// A picture.
        Jpeg = "jpeg",
        /// The same, in three letters.
        Jpg = "jpg",
        /// A picture.
        Png = "png",
        /// A text of a word processor.
        Doc = "doc",
        /// The same, since 2007.
        Docx = "docx",
        /// A document as it is printed.
        Pdf = "pdf",
        /// A table, such as a report file.
        Xls = "xls",
        /// The same, since 2007.
        Xlsx = "xlsx",
    }
);

words!(
    /// What the first bytes of a file show it to be.
    Content, "content", {
        /// A JPEG picture.
        Jpeg = "jpeg",
        /// A PNG picture.
        Png = "png",
        /// A PDF document.
        Pdf = "pdf",
        /// An OLE compound file: doc, xls.
        Compound = "compound",
        /// A zip archive: docx, xlsx.
        Zip = "zip",
    }
);

/// The bytes of a file that [`Content::of`] must be shown.
pub const CONTENT_BYTES: usize = 8;

impl Content {
    /// What a file that begins with `first` is; `None` where it is nothing that we know.
    #[must_use]
    pub fn of(first: &[u8]) -> Option<Self> {
        match first {
            [0xFF, 0xD8, 0xFF, ..] => Some(Self::Jpeg),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Some(Self::Png),
            [b'%', b'P', b'D', b'F', b'-', ..] => Some(Self::Pdf),
            [0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1, ..] => Some(Self::Compound),
            [b'P', b'K', 3, 4, ..] => Some(Self::Zip),
            _ => None,
        }
    }

    /// Its media type, as far as the first bytes tell.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Pdf => "application/pdf",
            Self::Compound | Self::Zip => "application/octet-stream",
        }
    }
}

impl Format {
    /// What a file of this format must be.
    #[must_use]
    pub const fn content(self) -> Content {
        match self {
            Self::Jpeg | Self::Jpg => Content::Jpeg,
            Self::Png => Content::Png,
            Self::Pdf => Content::Pdf,
            Self::Doc | Self::Xls => Content::Compound,
            Self::Docx | Self::Xlsx => Content::Zip,
        }
    }

    /// The format that the end of `name` says.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let (_, end) = name.rsplit_once('.')?;
        end.to_ascii_lowercase().parse().ok()
    }

    const fn is_picture(self) -> bool {
        matches!(self, Self::Jpeg | Self::Jpg | Self::Png)
    }
}

/// The SHA-256 of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// A text that is no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected sha256: and 64 hexadecimal digits")]
pub struct NoDigest;

impl Digest {
    /// From its bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = NoDigest;

    fn from_str(text: &str) -> Result<Self, NoDigest> {
        let digits = text.strip_prefix("sha256:").ok_or(NoDigest)?.as_bytes();
        let mut bytes = [0; 32];
        let (pairs, rest) = digits.as_chunks::<2>();
        if pairs.len() != bytes.len() || !rest.is_empty() {
            return Err(NoDigest);
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = (digit(*high).ok_or(NoDigest)? << 4) | digit(*low).ok_or(NoDigest)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

words!(
    /// Whether a line of the catalogue takes files, or their digests alone.
    Kept, "keeping of attachments", {
        /// What a submission names must have been uploaded before.
        Stored = "stored",
        /// The files stay with their submitter; what is named need not be here.
        Digests = "digests",
    }
);

/// What a line of the catalogue says of the files that are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Whether they must have been uploaded.
    pub kept: Kept,
    /// The formats that a name may end in; none: any.
    pub formats: Vec<Format>,
    /// The smallest picture, in bytes.
    pub picture_bytes_min: u64,
    /// The largest picture, in bytes. 0: however large.
    pub picture_bytes_max: u64,
    /// All of them together, in bytes. 0: however large.
    pub total_bytes_max: u64,
}

impl Rules {
    /// Files are uploaded; nothing else is asked.
    #[must_use]
    pub const fn stored() -> Self {
        Self {
            kept: Kept::Stored,
            formats: Vec::new(),
            picture_bytes_min: 0,
            picture_bytes_max: 0,
            total_bytes_max: 0,
        }
    }

    /// What is wrong with a file of this name and size, as far as the two tell.
    #[must_use]
    pub fn problem(&self, name: &str, bytes: u64) -> Option<String> {
        let format = Format::of_name(name)
            .filter(|format| self.formats.is_empty() || self.formats.contains(format));
        // Without rules of its own a line that keeps nothing has nothing to hold a name to.
        if self.formats.is_empty() && self.kept == Kept::Digests {
            return self.picture_problem(Format::of_name(name)?, bytes);
        }
        let Some(format) = format else {
            let formats = if self.formats.is_empty() { Format::ALL } else { &self.formats };
            let formats: Vec<&str> = formats.iter().map(|format| format.as_str()).collect();
            return Some(format!("expected a name that ends in one of {}", formats.join(", ")));
        };
        self.picture_problem(format, bytes)
    }

    fn picture_problem(&self, format: Format, bytes: u64) -> Option<String> {
        let (least, most) = (self.picture_bytes_min, self.picture_bytes_max);
        let fits = least <= bytes && (most == 0 || bytes <= most);
        (format.is_picture() && !fits).then(|| match most {
            0 => format!("a picture must have at least {least} bytes"),
            most => format!("a picture must have {least} to {most} bytes"),
        })
    }

    /// What is wrong with all of them together.
    #[must_use]
    pub fn total_problem(&self, sizes: impl Iterator<Item = u64>) -> Option<String> {
        let total = sizes.fold(0u64, u64::saturating_add);
        let most = self.total_bytes_max;
        (most > 0 && total > most)
            .then(|| format!("together they must not have more than {most} bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: u64 = 1024;

    #[test]
    fn s3_02_a_name_says_the_format_in_upper_or_lower_case() {
        let portal = Rules {
            formats: vec![
                Format::Jpeg,
                Format::Jpg,
                Format::Png,
                Format::Doc,
                Format::Docx,
                Format::Pdf,
            ],
            ..Rules::stored()
        };
        for (name, takes) in [
            ("a.pdf", true),
            ("A.JPG", true),
            ("scan.of.two.Jpeg", true),
            ("a.png", true),
            ("a.doc", true),
            ("a.DocX", true),
            ("a.gif", false),
            ("a.xls", false),
            ("pdf", false),
            ("a.pdf.exe", false),
            ("", false),
        ] {
            assert_eq!(portal.problem(name, 1).is_none(), takes, "{name}");
        }
        assert!(Rules::stored().problem("report.xls", 1).is_none());
        assert!(Rules::stored().problem("a.gif", 1).is_some());
    }

    #[test]
    fn s3_02_content_is_told_by_the_first_bytes() {
        for (first, content) in [
            (b"\xFF\xD8\xFF\xE0\0\x10JF".as_slice(), Some(Content::Jpeg)),
            (b"\x89PNG\r\n\x1a\n", Some(Content::Png)),
            (b"%PDF-1.7", Some(Content::Pdf)),
            (b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", Some(Content::Compound)),
            (b"PK\x03\x04\x14\0\x06\0", Some(Content::Zip)),
            (b"GIF89a..", None),
            (b"MZ\x90\0\x03\0\0\0", None),
            (b"%PD", None),
            (b"", None),
        ] {
            assert_eq!(Content::of(first), content, "{first:?}");
        }
        assert_eq!(Format::Jpg.content(), Format::Jpeg.content());
        assert_ne!(Format::Pdf.content(), Format::Png.content());
    }

    #[test]
    fn s3_42_pictures_have_120_to_200_k_and_all_together_at_most_1024_k() {
        let rules = Rules {
            formats: vec![Format::Pdf, Format::Jpg, Format::Png],
            picture_bytes_min: 120 * K,
            picture_bytes_max: 200 * K,
            total_bytes_max: 1024 * K,
            ..Rules::stored()
        };
        for (name, bytes, takes) in [
            ("a.jpg", 119 * K, false),
            ("a.jpg", 120 * K - 1, false),
            ("a.jpg", 120 * K, true),
            ("a.JPG", 200 * K, true),
            ("a.png", 200 * K + 1, false),
            ("a.jpg", 201 * K, false),
            ("a.pdf", 1024 * K, true),
            ("a.pdf", K, true),
            ("a.doc", 150 * K, false),
        ] {
            assert_eq!(rules.problem(name, bytes).is_none(), takes, "{name} {bytes}");
        }
        for (sizes, takes) in [
            (vec![1024 * K], true),
            (vec![1025 * K], false),
            (vec![120 * K; 8], true),
            (vec![120 * K; 9], false),
            (vec![200 * K; 5], true),
            (vec![200 * K; 6], false),
            (vec![u64::MAX, 2], false),
        ] {
            let total = rules.total_problem(sizes.iter().copied());
            assert_eq!(total.is_none(), takes, "{sizes:?}");
        }
    }

    #[test]
    fn a_digest_is_read_as_it_is_shown() {
        let text = format!("sha256:{}", "0f".repeat(32));
        assert_eq!(text.parse::<Digest>().unwrap().to_string(), text);
        let upper = format!("sha256:{}", "0F".repeat(32));
        assert_eq!(upper.parse::<Digest>().unwrap().to_string(), text);
        for wrong in ["", "sha256:", "sha256:0f", &"0f".repeat(32), &format!("{text}0")] {
            assert_eq!(wrong.parse::<Digest>(), Err(NoDigest), "{wrong}");
        }
    }
}
