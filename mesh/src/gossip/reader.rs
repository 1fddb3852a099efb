//! A cursor over decompressed gossip that never reads past the end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::frame::Id;
use super::rejections::Rejection;

/// The marks of the two families of addresses.
const IPV4: u8 = 4;
const IPV6: u8 = 6;

pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Rejection> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Rejection::Malformed)?;
        self.0 = rest;
        Ok(*array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Rejection> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, Rejection> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Rejection> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Rejection> {
        let length = usize::from(self.u16()?);
        let (text, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(Rejection::Malformed)?;
        self.0 = rest;
        str::from_utf8(text).map_err(|_| Rejection::Malformed)
    }

    /// Reads an identity. Returns `None` if no agent can have it.
    pub(super) fn id(&mut self) -> Result<Option<Id>, Rejection> {
        let short = self.text()?;
        let generation = self.u64()?;
        let ip: IpAddr = match self.u8()? {
            IPV4 => Ipv4Addr::from(self.array::<4>()?).into(),
            IPV6 => Ipv6Addr::from(self.array::<16>()?).into(),
            _ => return Err(Rejection::Malformed),
        };
        let address = SocketAddr::new(ip, self.u16()?);
        Ok(Id::new(short, generation, address))
    }
}
