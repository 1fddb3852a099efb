//! Checks the key file.

use super::finding::Finding;
use crate::config::Security;
use crate::keys;

const SUBJECT: &str = "key";

/// Checks that an agent with this `security` has a key.
pub(super) fn check(security: &Security) -> Finding {
    let Security::Sealed { key_file, .. } = security else {
        let detail = "none: everybody who reaches the ports of this node can steer it";
        let hint = "Make a key with `iperf3-mesh key generate`, and set --key-file \
                    (MESH_KEY_FILE) instead of --insecure (MESH_INSECURE) on all nodes.";
        return Finding::warning(SUBJECT, detail, hint);
    };
    match keys::read(key_file) {
        Ok(keyring) => {
            let ids: Vec<_> = keyring
                .member_keys()
                .map(|key| key.id.to_string())
                .collect();
            let detail = format!("{} has the keys {}", key_file.display(), ids.join(", "));
            Finding::ok(SUBJECT, detail)
        }
        Err(error) => Finding::error(SUBJECT, error.to_string(), error.hint()),
    }
}
