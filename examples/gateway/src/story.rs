//! What to try.

use std::net::SocketAddr;

use crate::admin::Upstreams;

/// Prints the addresses, and the commands to try.
pub(crate) fn print(gateway: SocketAddr, upstreams: &Upstreams, load: u32) {
    let url = format!("http://{gateway}");
    println!("gateway   {url}");
    for upstream in upstreams.iter() {
        println!("{:<9} {}", upstream.name, upstream.address);
    }
    let users = match load {
        0 => "The program sends no requests.".to_owned(),
        load => format!("The program sends {load} requests per second."),
    };
    println!(
        "
{users}
Try these commands in another terminal, and watch the log here. SIGTERM or Ctrl-C stops the
program after a drain time, and a second one stops it at once.

# all upstreams are healthy
curl -i {url}/products/lamp

# break an upstream: its circuit opens after 2 seconds
curl -X POST '{url}/fault/catalog?mode=error'

# calls are now rejected at once, with a Retry-After
curl -i {url}/products/lamp

# the circuit in the metrics and in the snapshots
curl -s {url}/metrics | grep -E 'state.*catalog.* 1$|rejections.*circuit_open'
curl -s {url}/snapshot

# the gateway stays ready, and reports the open circuit
curl -i {url}/readyz

# repair it: after some seconds a few probes are admitted, and the circuit closes
curl -X POST '{url}/fault/catalog?mode=ok'
curl -s {url}/metrics | grep -E 'transitions.*catalog|state.*catalog.* 1$'

# break the other upstream; the modes are ok, error, slow, hang and down
curl -X POST '{url}/fault/pricing?mode=slow'
"
    );
}
