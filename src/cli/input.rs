//! Files that a person names on the command line.

use super::exit::Failure;
use std::io::{self, Read};
use std::path::Path;

/// The text of a file; of standard input where it is named `-`.
pub(super) fn text(path: &Path) -> Result<String, Failure> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().lock().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    text.map_err(|error| wrong(path, &error))
}

/// What is wrong with a file, and what to do.
pub(super) fn wrong(path: &Path, error: &io::Error) -> Failure {
    let next = match error.kind() {
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::PermissionDenied => "let it be read by the user who runs this",
        io::ErrorKind::InvalidData => "save it as UTF-8",
        io::ErrorKind::IsADirectory => "name a file in it",
        _ => "see whether the disk can be read",
    };
    Failure::usage(format!("{}: {error}; {next}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn a_file_that_cannot_be_read_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("odd.toml");
        std::fs::write(&odd, b"a = \"\xb0\xd7\"").unwrap();
        for (path, next) in [
            (folder.path().join("none.toml"), "check the path"),
            (odd, "save it as UTF-8"),
            (folder.path().to_owned(), "name a file in it"),
        ] {
            let told = format!("{:?}", text(&path).unwrap_err());
            assert!(told.contains(next) && told.contains(path.to_str().unwrap()), "{told}");
        }
    }
}
