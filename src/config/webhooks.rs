//! Who is told of stops and of moved deadlines: the sections `[webhooks.NAME]`.

use super::model::{Data, Upstream, Webhook};
use super::raw::Reader;
use super::read::check_url;
use crate::domain::announcement::{Kind, Subscription};
use crate::domain::catalogue::Catalogue;
use crate::domain::cell::BusinessPattern;
use crate::domain::ids::{InstitutionCode, SubscriberName, UpstreamName};
use std::collections::BTreeMap;

/// Reads all of them. `data` says where relative files are.
pub(super) fn read_webhooks(
    root: &mut Reader<'_>,
    data: &Data,
    upstreams: &BTreeMap<UpstreamName, Upstream>,
    catalogue: &Catalogue,
) -> BTreeMap<SubscriberName, Webhook> {
    let (fallback_path, fallback) = root.table("webhook_default");
    let mut webhooks = BTreeMap::new();
    for (name, reader) in root.sections("webhooks") {
        let reader = reader.falling_back(&fallback_path, fallback.clone());
        let (reader, subscription) = read_subscription(reader, upstreams, catalogue);
        if let Some((name, webhook)) = read_webhook(&name, reader, subscription, data) {
            webhooks.insert(name, webhook);
        }
    }
    webhooks
}

fn read_webhook(
    name: &str,
    mut r: Reader<'_>,
    subscription: Subscription,
    data: &Data,
) -> Option<(SubscriberName, Webhook)> {
    let name: Result<SubscriberName, _> = name.parse();
    if let Err(why) = &name {
        r.error("", None, why);
    }
    if name.as_ref().is_ok_and(|name| name.as_str() == "outbox") {
        r.error("", None, "the daemon's own file of announcements has this name: take another");
    }
    let url = r.text("url");
    if !url.is_empty() {
        check_url(&r, "url", &url);
    }
    let secret_file = data.folder.join(r.text("secret_file"));
    r.finish();
    Some((name.ok()?, Webhook { url, secret_file, subscription }))
}

/// What is told, and whether there is anything like it.
fn read_subscription<'r>(
    mut r: Reader<'r>,
    known: &BTreeMap<UpstreamName, Upstream>,
    catalogue: &Catalogue,
) -> (Reader<'r>, Subscription) {
    let code = r.text("institution");
    let institution: Option<InstitutionCode> = match code.as_str() {
        "" => None,
        code => match code.parse() {
            Ok(code) => Some(code),
            Err(why) => {
                r.error("institution", Some(format!("{code:?}")), why);
                None
            }
        },
    };
    let names_kinds = r.has("events");
    let kinds: Vec<Kind> = r.list("events");
    let upstreams: Vec<UpstreamName> = r.list("upstreams");
    let businesses: Vec<BusinessPattern> = r.list("businesses");
    for name in upstreams.iter().filter(|name| !known.contains_key(*name)) {
        r.error("upstreams", Some(format!("\"{name}\"")), "there is no such upstream");
    }
    let is_known =
        |of: &BusinessPattern| catalogue.lines.iter().any(|line| of.matches(&line.business));
    for pattern in businesses.iter().filter(|pattern| !is_known(pattern)) {
        let shown = format!("{:?}", String::from(pattern.clone()));
        r.error("businesses", Some(shown), "the catalogue has no such business");
    }
    if kinds.is_empty() {
        r.error("events", Some("[]".to_owned()), "name what is told");
    }
    if names_kinds && kinds.contains(&Kind::Extended) && code.is_empty() {
        let why = "deadline.extended needs institution: nobody is told everybody's deadlines";
        r.error("events", None, why);
    }
    (r, Subscription { kinds, institution, upstreams, businesses })
}
