//! Metrics of the keys, and of what this node accepts without one.

use std::collections::BTreeMap;

use iperf3_mesh_core::AuthMode;
use iperf3_mesh_core::seal::KeyId;
use prometheus::{
    IntGauge, IntGaugeVec, Registry, register_int_gauge_vec_with_registry,
    register_int_gauge_with_registry,
};
use strum::VariantArray;

use crate::keys::KeyReason;

/// The metrics of the keys.
#[derive(Clone)]
pub(super) struct Keys {
    insecure: IntGauge,
    auth: IntGaugeVec,
    in_use: IntGaugeVec,
    problem: IntGaugeVec,
}

impl Keys {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let keys = Self {
            insecure: register_int_gauge_with_registry!(
                "iperf_mesh_insecure",
                "1 if this node runs without a key, else 0",
                registry
            )?,
            auth: register_int_gauge_vec_with_registry!(
                "iperf_mesh_auth",
                "1 for what this node accepts of other agents at present, else 0",
                &["mode"],
                registry
            )?,
            in_use: register_int_gauge_vec_with_registry!(
                "iperf_mesh_key_in_use",
                "Members to which this node sends with the key, by the id of the key",
                &["id"],
                registry
            )?,
            problem: register_int_gauge_vec_with_registry!(
                "iperf_mesh_key_problem",
                "1 while the key file of this node cannot be used, by reason, else 0",
                &["reason"],
                registry
            )?,
        };
        keys.show_problem(None);
        Ok(keys)
    }

    pub(super) fn show_mode(&self, present: AuthMode) {
        self.insecure.set(i64::from(present == AuthMode::Insecure));
        for mode in AuthMode::VARIANTS {
            let gauge = self.auth.with_label_values(&[mode.as_str()]);
            gauge.set(i64::from(*mode == present));
        }
    }

    /// Shows the keys of the key file, and nothing of keys that it no longer has.
    pub(super) fn show_in_use(&self, members: &BTreeMap<KeyId, usize>) {
        self.in_use.reset();
        for (id, members) in members {
            let members = i64::try_from(*members).unwrap_or(i64::MAX);
            self.in_use.with_label_values(&[id.as_str()]).set(members);
        }
    }

    pub(super) fn show_problem(&self, present: Option<KeyReason>) {
        for reason in KeyReason::VARIANTS {
            let gauge = self.problem.with_label_values(&[reason.as_str()]);
            gauge.set(i64::from(Some(*reason) == present));
        }
    }
}
