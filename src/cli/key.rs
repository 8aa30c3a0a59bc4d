//! `holdover key`: API keys. Works on the key file itself; a running daemon notices within a
//! second.
//!
//! A new key is printed once and stored nowhere; the file has only its hash.

use super::Run;
use super::args::{instant, one_of};
use super::exit::{Exit, Failure};
use super::out::{Table, plain};
use crate::daemon::clock::SystemClock;
use crate::domain::cell::{Channel, Class, Institution};
use crate::domain::ids::{District, InstitutionCode, Label};
use crate::domain::time::Timestamp;
use crate::web::access::{Holder, NewKey, Scope, create, list, revoke};
use crate::web::keyfile;
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Make a key, for a person or for an institution, and print it once
    Create(Box<Create>),
    /// List keys; none of them can be read back
    List {
        #[command(flatten)]
        file: KeyFileArg,
    },
    /// Make a key useless from now on
    Revoke {
        /// The key's id
        id: String,
        /// The key's id once more
        #[arg(long, value_name = "ID")]
        confirm: Option<String>,
        #[command(flatten)]
        file: KeyFileArg,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct KeyFileArg {
    /// The daemon's file of API keys
    #[arg(long, value_name = "FILE", default_value = "data/api-keys.json")]
    keys: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct Create {
    /// The person whose key it is; stands in the audit log
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with = "institution",
        required_unless_present = "institution"
    )]
    operator: Option<String>,
    /// The institution whose key it is
    #[arg(long, value_name = "CODE", requires = "class", requires = "district")]
    institution: Option<InstitutionCode>,
    /// Its class
    #[arg(long, value_name = "CLASS", requires = "institution", value_parser = one_of(Class::ALL))]
    class: Option<Class>,
    /// Its district
    #[arg(long, value_name = "DISTRICT", requires = "institution")]
    district: Option<District>,
    /// A label that it carries; may be repeated
    #[arg(long, value_name = "LABEL", requires = "institution")]
    label: Vec<Label>,
    /// A channel that it may name; may be repeated
    #[arg(long, value_name = "CHANNEL", requires = "institution", value_parser = one_of(Channel::ALL))]
    channel: Vec<Channel>,
    /// It opted in to settling on credit
    #[arg(long, requires = "institution")]
    credit: bool,
    /// What the key may do; may be repeated
    #[arg(long, value_name = "SCOPE", required = true, value_parser = one_of(Scope::ALL))]
    scope: Vec<Scope>,
    /// From when on it is no longer good
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    expires_at: Option<Timestamp>,
    #[command(flatten)]
    file: KeyFileArg,
}

impl Verb {
    pub(super) fn run(self, run: &Run) -> Result<Exit, Failure> {
        match self {
            Self::Create(args) => make(run, *args),
            Self::List { file } => show(run, &file),
            Self::Revoke { id, confirm, file } => {
                let keys = list(&file.keys).map_err(failed)?;
                let key = keys.iter().find(|key| key.id == id);
                let key = key.ok_or_else(|| failed(keyfile::Error::Unknown(id.clone())))?;
                let touches = format!("key {} of {}", key.id, whose(&key.holder));
                run.confirmed_by_name(confirm.as_deref(), &id, &touches)?;
                revoke(&file.keys, &id, SystemClock::wall()).map_err(failed)?;
                run.out.data(&json!({ "id": id, "revoked": true }), || {
                    format!("key {id} is revoked\n")
                });
                run.out.next(&format!("holdover key list --keys {}", file.keys.display()));
                Ok(Exit::Success)
            }
        }
    }
}

fn make(run: &Run, args: Create) -> Result<Exit, Failure> {
    let holder = match (args.operator, args.institution, args.class, args.district) {
        (Some(name), _, _, _) => Holder::Operator { name },
        (None, Some(code), Some(class), Some(district)) => {
            let mut labels = args.label;
            labels.sort_unstable();
            let institution = Institution { code, class, district, labels, credit: args.credit };
            Holder::Institution { institution, channels: args.channel }
        }
        (None, _, _, _) => {
            return Err(Failure::usage(
                "say --operator NAME, or --institution with its class and \
                                       district",
            ));
        }
    };
    let who = whose(&holder);
    let new = NewKey {
        holder,
        scopes: args.scope,
        created_at: SystemClock::wall(),
        expires_at: args.expires_at,
    };
    let key = create(&args.file.keys, new).map_err(failed)?;
    run.out.data(&json!({ "key": key }), || format!("{key}\n"));
    run.out
        .note(&format!("a key for {who}; it is shown this once, keep it in a file of mode 0600"));
    run.out.next(&format!("holdover key list --keys {}", args.file.keys.display()));
    Ok(Exit::Success)
}

fn show(run: &Run, file: &KeyFileArg) -> Result<Exit, Failure> {
    let keys = list(&file.keys).map_err(failed)?;
    let shown: Vec<_> = keys
        .iter()
        .map(|key| {
            json!({
                "id": key.id, "holder": key.holder, "scopes": key.scopes,
                "created_at": key.created_at, "expires_at": key.expires_at,
                "revoked_at": key.revoked_at,
            })
        })
        .collect();
    run.out.table(&shown, || {
        let mut table = Table::new(&["key", "holder", "scopes", "created", "expires", "revoked"]);
        let instant = |at: Option<Timestamp>| at.map_or("-".to_owned(), |at| at.to_string());
        for key in &keys {
            let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
            table.row([
                key.id.clone(),
                plain(&whose(&key.holder)),
                scopes.join(" "),
                key.created_at.to_string(),
                instant(key.expires_at),
                instant(key.revoked_at),
            ]);
        }
        table
    });
    Ok(Exit::Success)
}

fn whose(holder: &Holder) -> String {
    match holder {
        Holder::Operator { name } => name.clone(),
        Holder::Institution { institution, .. } => {
            format!("{} ({})", institution.code, institution.class)
        }
    }
}

fn failed(error: keyfile::Error) -> Failure {
    let exit = match &error {
        keyfile::Error::Unknown(_) => Exit::NotFound,
        keyfile::Error::Invalid(_) | keyfile::Error::Alike(_) => Exit::Usage,
        keyfile::Error::Io { .. } | keyfile::Error::Damaged { .. } | keyfile::Error::TooOpen(_) => {
            Exit::Failure
        }
    };
    Failure::local(exit, error.to_string())
}
