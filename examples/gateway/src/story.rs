//! What to try.

use std::net::SocketAddr;

use crate::admin::Upstreams;

/// Says where everything is, and what to do with it.
pub(crate) fn tell(gateway: SocketAddr, upstreams: &Upstreams, load: u32) {
    let url = format!("http://{gateway}");
    println!("gateway   {url}");
    for upstream in upstreams.iter() {
        println!("{:<9} {}", upstream.name, upstream.address);
    }
    let users = match load {
        0 => "No requests come by themselves.".to_owned(),
        load => format!("{load} requests a second come by themselves."),
    };
    println!(
        "
{users} Try in another terminal, and watch the log here (Ctrl-C ends it):

# all is well
curl -i {url}/products/lamp

# break an upstream; after 2 seconds its circuit opens
curl -X POST '{url}/fault/catalog?mode=error'

# then calls are rejected at once, and say when to come again
curl -i {url}/products/lamp

# the same in the metrics, and in what the layers say of themselves
curl -s {url}/metrics | grep -E 'state.*catalog.* 1$|rejections.*circuit_open'
curl -s {url}/snapshot

# mend it; after some seconds a few calls are let through, and the circuit closes
curl -X POST '{url}/fault/catalog?mode=ok'
curl -s {url}/metrics | grep -E 'transitions.*catalog|state.*catalog.* 1$'

# the other upstream, other faults: ok, error, slow, hang, down
curl -X POST '{url}/fault/pricing?mode=slow'
"
    );
}
