//! `/admin/v1/windows/{id}/versions`: what a window said before, who changed it, why, and what.
//!
//! The engine keeps every version whole; what one says otherwise than another is computed from
//! what is shown of both.

use super::State;
use super::look;
use super::refusal::Refusal;
use super::types::{VersionOut, VersionShown, VersionsOut, WindowOut};
use super::windows::shown;
use crate::domain::difference::{Difference, between};
use crate::domain::ids::WindowId;
use crate::domain::window::{Phase, Window};
use crate::engine::event::Sought;
use crate::web::problem::Problem;
use axum::Json;
use axum::extract::{Path, State as Extract};
use axum::http::Uri;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

type Shared = Extract<Arc<State>>;

/// What every version has of its own, so that it is no difference.
const OF_EACH_VERSION: [&str; 6] =
    ["version", "author", "reason", "changed_at", "phase", "next_edge_at"];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Since {
    /// The version that it is compared with; the one before where it is left out.
    since: Option<u32>,
}

pub(super) async fn list(
    Extract(state): Shared,
    Path(id): Path<String>,
) -> Result<Json<VersionsOut>, Refusal> {
    let known = Known::of(&state, &id).await?;
    let mut before = None;
    let mut items = Vec::new();
    for window in &known.versions {
        let out = known.shown(window);
        items.push(VersionOut {
            version: out.version,
            author: out.author.clone(),
            reason: out.reason.clone(),
            changed_at: out.changed_at,
            differences: before.as_ref().map(|before| differences(before, &out)),
        });
        before = Some(out);
    }
    Ok(Json(VersionsOut { id: known.id, items }))
}

pub(super) async fn show(
    Extract(state): Shared,
    Path((id, version)): Path<(String, String)>,
    uri: Uri,
) -> Result<Json<VersionShown>, Refusal> {
    let Since { since } = look::query(&uri)?;
    let known = Known::of(&state, &id).await?;
    let version = version.parse().ok().and_then(|version| known.version(version));
    let window = version.ok_or_else(|| Problem::not_found(Sought::Version))?;
    let before = match since {
        Some(since) => {
            let range = known.range();
            let expected = || Refusal::field("/since", format!("expected a version of {range}"));
            Some(known.version(since).ok_or_else(expected)?)
        }
        None => window.version.checked_sub(1).and_then(|before| known.version(before)),
    };
    let differences = before.as_ref().map(|before| differences(before, &window));
    let since = before.map(|before| before.version);
    Ok(Json(VersionShown { window, since, differences }))
}

/// The versions of a window.
struct Known {
    id: WindowId,
    versions: Vec<Arc<Window>>,
    phase: Phase,
    now: crate::domain::time::Timestamp,
}

impl Known {
    async fn of(state: &State, id: &str) -> Result<Self, Refusal> {
        let id: WindowId = id.parse().map_err(|_| Problem::not_found(Sought::Window))?;
        let seen = look::at(state, move |machine, now| {
            let versions = machine.versions(&id);
            let phase = machine.phase(versions.last()?, now.wall);
            Some(Self { id, versions, phase, now: now.wall })
        });
        seen.await?.ok_or_else(|| Problem::not_found(Sought::Window).into())
    }

    fn shown(&self, window: &Window) -> WindowOut {
        shown(window, self.phase, self.now)
    }

    fn version(&self, version: u32) -> Option<WindowOut> {
        let window = self.versions.iter().find(|window| window.version == version)?;
        Some(self.shown(window))
    }

    fn range(&self) -> String {
        let ends = [self.versions.first(), self.versions.last()];
        let ends = ends.into_iter().flatten().map(|window| window.version.to_string());
        ends.collect::<Vec<_>>().join(" to ")
    }
}

/// What the version `to` says otherwise than `from`.
pub(super) fn differences(from: &WindowOut, to: &WindowOut) -> Vec<Difference> {
    let words = |window: &WindowOut| {
        let mut words = serde_json::to_value(window).unwrap_or(Value::Null);
        if let Some(fields) = words.as_object_mut() {
            fields.retain(|name, _| !OF_EACH_VERSION.contains(&name.as_str()));
        }
        words
    };
    between(&words(from), &words(to))
}
