//! Who is told of stops and of moved deadlines: the sections `[webhooks.NAME]`.

use super::model::{Data, Webhook};
use super::raw::Reader;
use super::read::check_url;
use crate::domain::announcement::{Kind, Subscription};
use crate::domain::cell::BusinessPattern;
use crate::domain::ids::{InstitutionCode, SubscriberName, UpstreamName};
use std::collections::BTreeMap;

/// Reads all of them. `data` says where relative files are.
pub(super) fn read_webhooks(
    root: &mut Reader<'_>,
    data: &Data,
) -> BTreeMap<SubscriberName, Webhook> {
    let (fallback_path, fallback) = root.table("webhook_default");
    let mut webhooks = BTreeMap::new();
    for (name, reader) in root.sections("webhooks") {
        let reader = reader.falling_back(&fallback_path, fallback.clone());
        if let Some((name, webhook)) = read_webhook(&name, reader, data) {
            webhooks.insert(name, webhook);
        }
    }
    webhooks
}

fn read_webhook(name: &str, mut r: Reader<'_>, data: &Data) -> Option<(SubscriberName, Webhook)> {
    let name: Result<SubscriberName, _> = name.parse();
    if let Err(why) = &name {
        r.error("", None, why);
    }
    let url = r.text("url");
    if !url.is_empty() {
        check_url(&r, "url", &url);
    }
    let secret_file = r.text("secret_file");
    let institution = r.text("institution");
    let institution = match institution.as_str() {
        "" => None,
        code => match code.parse::<InstitutionCode>() {
            Ok(code) => Some(code),
            Err(why) => {
                r.error("institution", Some(format!("{code:?}")), why);
                None
            }
        },
    };
    let kinds: Vec<Kind> = r.list("events");
    let upstreams: Vec<UpstreamName> = r.list("upstreams");
    let businesses: Vec<BusinessPattern> = r.list("businesses");
    if kinds.is_empty() {
        r.error("events", Some("[]".to_owned()), "name what is told");
    }
    if r.has("events") && kinds.contains(&Kind::Extended) && institution.is_none() {
        let why = "deadline.extended needs institution: nobody is told everybody's deadlines";
        r.error("events", None, why);
    }
    r.finish();
    let subscription = Subscription { kinds, institution, upstreams, businesses };
    let secret_file = data.folder.join(secret_file);
    Some((name.ok()?, Webhook { url, secret_file, subscription }))
}
