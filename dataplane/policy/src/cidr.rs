//! The step that goes by the address: networks that may, and networks that may not. Behind a proxy the address is the one that a trusted
//! proxy names, which the engine has found before.
use millstream_proto::network::Network;

use crate::scope::Pass;
use crate::{Denial, Grant, Policy, Request, Step, Why};

/// Refuses who is in `deny`, and, where `allow` names any, who is not in that.
#[derive(Clone, Debug)]
pub struct Cidr {
    /// Networks that may; empty: all that are not in `deny`.
    pub allow: Vec<Network>,
    /// Networks that may not, also where `allow` has them.
    pub deny: Vec<Network>,
    /// What the others get.
    pub pass: Pass,
}

impl Policy for Cidr {
    fn name(&self) -> &'static str {
        "cidr"
    }

    fn decide(&self, request: &Request, _context: crate::DecisionContext<'_>) -> Step {
        let address = request.client.address.ip().to_canonical();
        let is_in = |networks: &[Network]| networks.iter().any(|network| network.contains(address));
        let verb = request.action.as_str();
        if is_in(&self.deny) {
            return Denial::step(Why::Forbidden, format!("the address {address} may not {verb} here"));
        }
        if !self.allow.is_empty() && !is_in(&self.allow) {
            let reason = format!("the address {address} is in none of the networks that may {verb} here");
            return Denial::step(Why::Forbidden, reason);
        }
        self.pass.step(Grant::default())
    }

    fn abstains_because(&self, request: &Request) -> String {
        format!("the address {} may, and pass = \"next\"", request.client.address.ip().to_canonical())
    }
}
