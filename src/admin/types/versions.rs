//! The bodies about versions of a window.

use super::WindowOut;
use crate::domain::difference::Difference;
use crate::domain::ids::WindowId;
use crate::domain::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Every version of a window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VersionsOut {
    /// Its name.
    pub id: WindowId,
    /// Oldest first.
    pub items: Vec<VersionOut>,
}

/// Who made a version, why, and what it says otherwise than the one before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VersionOut {
    /// Its number.
    pub version: u32,
    /// Who made it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// When.
    pub changed_at: Timestamp,
    /// What it says otherwise than the one before; absent of the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differences: Option<Vec<Difference>>,
}

/// One version, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VersionShown {
    /// What it says. `phase` is where the window stands now, whatever the version.
    #[serde(flatten)]
    pub window: WindowOut,
    /// The version that it is compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u32>,
    /// What it says otherwise than that one; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differences: Option<Vec<Difference>>,
}
