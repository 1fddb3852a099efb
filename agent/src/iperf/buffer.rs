//! The largest socket buffer that this kernel allows.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};

use socket2::SockRef;

/// The kernel's default limit on socket buffers, in bytes (`net.core.rmem_max`, `wmem_max`).
pub const DEFAULT_BUFFER_LIMIT: u64 = 212_992;

/// The socket buffer of a UDP test, in bytes. If it is too small, the receiver loses datagrams that
/// the network has delivered. iperf3 reads back the value that the kernel has doubled, so 2 × the
/// limit is the largest size that it accepts. This constant is that size for the default limit; a
/// larger buffer is not used even where the kernels would allow one, so that figures compare.
pub(super) const BUFFER: u64 = 2 * DEFAULT_BUFFER_LIMIT;

/// A limit on socket buffers, in the unit of the kernel's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferLimit {
    /// The name of the setting below `net.core`.
    pub name: &'static str,
    /// The limit in bytes; `None` if it is unknown. A limit that cannot be read and is higher than
    /// [`DEFAULT_BUFFER_LIMIT`] counts as that.
    pub bytes: Option<u64>,
}

/// Returns the limits of receive and send buffers. A container may not be able to read the kernel's
/// settings, and a sandbox may have limits of its own, so a socket is tried as well.
pub fn buffer_limits() -> [BufferLimit; 2] {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok();
    let socket = socket.as_ref().map(SockRef::from);
    let size = usize::try_from(DEFAULT_BUFFER_LIMIT).unwrap_or(usize::MAX);
    let tried = |result: Option<io::Result<usize>>| {
        // The kernel doubles what it was asked for.
        result?.ok().map(|size| size as u64 / 2)
    };
    let receive = tried(socket.as_ref().map(|socket| {
        socket.set_recv_buffer_size(size)?;
        socket.recv_buffer_size()
    }));
    let send = tried(socket.as_ref().map(|socket| {
        socket.set_send_buffer_size(size)?;
        socket.send_buffer_size()
    }));
    [("rmem_max", receive), ("wmem_max", send)].map(|(name, tried)| BufferLimit {
        name,
        bytes: combine(read(name), tried),
    })
}

/// Returns the largest socket buffer that iperf3 can have on this node, at most [`BUFFER`]. Unknown
/// limits count as the default ones.
pub(super) fn largest() -> u64 {
    buffer_limits()
        .iter()
        .filter_map(|limit| limit.bytes)
        .fold(BUFFER, |least, bytes| least.min(bytes.saturating_mul(2)))
}

/// Returns the buffer of a test. iperf3 sets the same size at both ends, and fails at an end that
/// cannot have it.
pub(super) fn lesser(own: u64, peer: Option<u64>) -> u64 {
    peer.map_or(own, |peer| own.min(peer))
}

fn read(name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/sys/net/core/{name}")).ok()?;
    text.trim().parse().ok()
}

/// The setting counts, unless a socket got less.
fn combine(read: Option<u64>, tried: Option<u64>) -> Option<u64> {
    match (read, tried) {
        (Some(read), Some(tried)) if tried >= DEFAULT_BUFFER_LIMIT => Some(read),
        (Some(read), Some(tried)) => Some(read.min(tried)),
        (read, tried) => read.or(tried),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lesser_of_setting_and_socket_is_the_limit() {
        let small = Some(163_840);
        for (read, tried, limit) in [
            (None, None, None),
            (None, small, small),
            (small, None, small),
            (small, Some(DEFAULT_BUFFER_LIMIT), small),
            (Some(4 << 20), small, small),
            (Some(4 << 20), Some(DEFAULT_BUFFER_LIMIT), Some(4 << 20)),
        ] {
            assert_eq!(combine(read, tried), limit, "{read:?} {tried:?}");
        }
    }

    #[test]
    fn the_smaller_end_decides_the_buffer() {
        let small = 2 * 163_840;
        assert_eq!(lesser(BUFFER, Some(small)), small);
        assert_eq!(lesser(small, Some(BUFFER)), small);
        assert_eq!(lesser(BUFFER, None), BUFFER);
    }

    #[test]
    fn a_socket_gets_some_buffer() {
        assert!(largest() > 0 && largest() <= BUFFER);
    }
}
