//! Links, addresses, routes and neighbours through rtnetlink, whose types stay in this file.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsRawFd, BorrowedFd},
};

use futures::TryStreamExt;
use rtnetlink::{
    Error, Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_route::{
        link::{InfoData, InfoVeth, LinkAttribute, LinkMessage},
        route::{RouteMessage, RouteScope},
    },
};

use super::PodNetError;

/// A rtnetlink socket, which stays in the namespace it was made in, whatever thread uses it.
pub struct Netlink {
    handle: Handle,
    connection: tokio::task::JoinHandle<()>,
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Netlink {
    /// In the network namespace of the calling thread; work on the runtime that is entered there.
    pub fn open() -> Result<Self, PodNetError> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(PodNetError::io("opening a netlink socket"))?;
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }

    /// Makes both ends of a pod's link, each in its namespace: a link that is moved later costs milliseconds more. The host's
    /// end is up; the pod's cannot be from the start (veth refuses with ENOTCONN while it has no peer).
    pub async fn add_veth(
        &self,
        host: &End<'_>,
        pod: &End<'_>,
        pod_namespace: BorrowedFd<'_>,
    ) -> Result<(), PodNetError> {
        let peer = LinkUnspec::new_with_name(pod.name)
            .address(pod.mac.to_vec())
            .mtu(pod.mtu)
            .setns_by_fd(pod_namespace.as_raw_fd())
            .build();
        let veth = LinkMessageBuilder::<LinkVeth>::new(host.name, pod.name)
            .address(host.mac.to_vec())
            .mtu(host.mtu)
            .up()
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .build();
        self.handle.link().add(veth).execute().await.map_err(failed(format!("adding link {}", host.name)))
    }

    pub async fn index(&self, name: &str) -> Result<u32, PodNetError> {
        Ok(self.link(name).await?.header.index)
    }

    pub async fn mtu(&self, name: &str) -> Result<Option<u32>, PodNetError> {
        let link = self.link(name).await?;
        Ok(link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Mtu(mtu) => Some(*mtu),
            _ => None,
        }))
    }

    async fn link(&self, name: &str) -> Result<LinkMessage, PodNetError> {
        let what = || format!("looking for link {name}");
        let mut links = self.handle.link().get().match_name(name).execute();
        let link = links.try_next().await.map_err(failed(what()))?;
        link.ok_or_else(|| PodNetError::Io { what: what(), source: io::ErrorKind::NotFound.into() })
    }

    /// Names and aliases of all links.
    pub async fn aliases(&self) -> Result<Vec<(String, String)>, PodNetError> {
        let links: Vec<LinkMessage> =
            self.handle.link().get().execute().try_collect().await.map_err(failed("listing links"))?;
        let pair = |link: LinkMessage| {
            let mut name = None;
            let mut alias = None;
            for attribute in link.attributes {
                match attribute {
                    LinkAttribute::IfName(value) => name = Some(value),
                    LinkAttribute::IfAlias(value) => alias = Some(value),
                    _ => {}
                }
            }
            Some((name?, alias?))
        };
        Ok(links.into_iter().filter_map(pair).collect())
    }

    pub async fn set_up(&self, index: u32) -> Result<(), PodNetError> {
        let message = LinkUnspec::new_with_index(index).up().build();
        self.handle.link().set(message).execute().await.map_err(failed("setting a link up"))
    }

    pub async fn set_alias(&self, index: u32, alias: &str) -> Result<(), PodNetError> {
        let message = LinkUnspec::new_with_index(index).alias(alias).build();
        self.handle.link().set(message).execute().await.map_err(failed("naming a link"))
    }

    /// Deletes the link and with it its other end; none of that name is fine.
    pub async fn delete(&self, name: &str) -> Result<(), PodNetError> {
        let message = LinkUnspec::new_with_name(name).build();
        match self.handle.link().del_with_message(message).execute().await {
            Err(error) if errno(&error) == Some(libc::ENODEV) => Ok(()),
            other => other.map_err(failed(format!("deleting link {name}"))),
        }
    }

    /// The address alone, without a network around it.
    pub async fn add_address(&self, index: u32, address: Ipv4Addr) -> Result<(), PodNetError> {
        let request = self.handle.address().add(index, IpAddr::V4(address), 32);
        request.execute().await.map_err(failed(format!("adding address {address}")))
    }

    /// A route to one address, directly on the link.
    pub async fn add_host_route(&self, index: u32, to: Ipv4Addr) -> Result<(), PodNetError> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(to, 32).output_interface(index);
        self.add_route(route.scope(RouteScope::Link).build(), to).await
    }

    pub async fn add_default_route(&self, index: u32, gateway: Ipv4Addr) -> Result<(), PodNetError> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).output_interface(index).onlink().build();
        self.add_route(route, Ipv4Addr::UNSPECIFIED).await
    }

    async fn add_route(&self, route: RouteMessage, to: Ipv4Addr) -> Result<(), PodNetError> {
        // Replacing: a route that a sandbox of the same address left is no obstacle.
        self.handle.route().add(route).replace().execute().await.map_err(failed(format!("adding a route to {to}")))
    }

    /// A neighbour that is never asked for: the first packet goes out without waiting for ARP.
    pub async fn add_neighbour(&self, index: u32, address: Ipv4Addr, mac: [u8; 6]) -> Result<(), PodNetError> {
        let request = self.handle.neighbours().add(index, IpAddr::V4(address)).link_layer_address(&mac).replace();
        request.execute().await.map_err(failed(format!("adding neighbour {address}")))
    }
}

/// One end of a link.
pub struct End<'a> {
    pub name: &'a str,
    pub mac: [u8; 6],
    pub mtu: u32,
}

fn errno(error: &Error) -> Option<i32> {
    match error {
        Error::NetlinkError(message) => Some(message.raw_code().abs()),
        _ => None,
    }
}

fn failed(what: impl Into<String>) -> impl FnOnce(Error) -> PodNetError {
    let what = what.into();
    move |error| {
        let source = match errno(&error) {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::other(error.to_string()),
        };
        PodNetError::from_io(what, source)
    }
}
