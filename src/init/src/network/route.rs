// SPDX-License-Identifier: Apache-2.0
//! Routes and rules of policy routing, as version 2 spells them.

use std::net::IpAddr;

use super::{
    Address, Route, RouteKind, Rule, Scope,
    fields::{IP, MTU, POSITIVE, UNSIGNED, flag, number, option, required, word},
};
use crate::yaml::{At, Problem};

const ROUTE: [&str; 9] =
    ["to", "via", "on-link", "metric", "table", "mtu", "from", "type", "scope"];
const RULE: [&str; 6] = ["from", "to", "table", "priority", "mark", "type-of-service"];
const NETWORK: &str = "a network, as 10.0.0.0/8";
const DESTINATION: &str = "'default' or a network, as 10.0.0.0/8";

pub(super) const ROUTE_KINDS: [(&str, RouteKind); 9] = [
    ("unicast", RouteKind::Unicast),
    ("local", RouteKind::Local),
    ("broadcast", RouteKind::Broadcast),
    ("anycast", RouteKind::Anycast),
    ("multicast", RouteKind::Multicast),
    ("blackhole", RouteKind::Blackhole),
    ("unreachable", RouteKind::Unreachable),
    ("prohibit", RouteKind::Prohibit),
    ("throw", RouteKind::Throw),
];
pub(super) const SCOPES: [(&str, Scope); 3] =
    [("global", Scope::Global), ("link", Scope::Link), ("host", Scope::Host)];

pub(super) fn read_route(at: &At<'_>) -> Result<Route, Problem> {
    let fields = at.fields(&ROUTE)?;
    let to = destination(required(&fields, at, "to")?)?;
    let via: Option<IpAddr> = option(&fields, "via", IP)?;
    let kind = fields.get("type").map(|at| word(at, &ROUTE_KINDS)).transpose()?;
    let route = Route {
        to: to.or(via.map(Address::any)),
        via,
        on_link: flag(&fields, "on-link")?.unwrap_or(false),
        metric: number(&fields, "metric", UNSIGNED)?,
        table: number(&fields, "table", POSITIVE)?,
        mtu: number(&fields, "mtu", MTU)?,
        from: option(&fields, "from", IP)?,
        kind,
        scope: fields.get("scope").map(|at| word(at, &SCOPES)).transpose()?,
    };
    check(&route, at)?;
    Ok(route)
}

/// What every document's routes must hold.
pub(super) fn check(route: &Route, at: &At<'_>) -> Result<(), Problem> {
    use RouteKind::{Blackhole, Prohibit, Throw, Unreachable};
    let discards = matches!(route.kind, Some(Blackhole | Unreachable | Prohibit | Throw));
    let families = [route.to.map(|to| to.ip), route.via, route.from];
    let mut families = families.into_iter().flatten().map(|ip| ip.is_ipv4());
    let problem = match (route.to, route.via) {
        (None, None) if discards => Some("spell the default route as 0.0.0.0/0 or ::/0"),
        (None, None) => Some("a default route needs 'via'"),
        (_, Some(_)) if discards => Some("a route that discards packets has no 'via'"),
        (_, None) if route.on_link => Some("'on-link' needs 'via'"),
        (Some(to), Some(via)) if to.ip.is_ipv4() != via.is_ipv4() => {
            Some("'to' and 'via' are of different address families")
        }
        _ => {
            let first = families.next();
            families
                .any(|family| Some(family) != first)
                .then_some("'from' is of another address family than the route")
        }
    };
    problem.map_or(Ok(()), |problem| Err(at.problem(problem)))
}

/// `default`, or a network, or one host. `default` takes its family from the gateway.
fn destination(at: &At<'_>) -> Result<Option<Address>, Problem> {
    match at.text(DESTINATION)? {
        "default" => Ok(None),
        _ => network(at, DESTINATION).map(Some),
    }
}

fn network(at: &At<'_>, expected: &str) -> Result<Address, Problem> {
    if at.text(expected)?.contains('/') {
        return at.parse(expected);
    }
    Ok(Address::host(at.parse(expected)?))
}

pub(super) fn read_rule(at: &At<'_>) -> Result<Rule, Problem> {
    let fields = at.fields(&RULE)?;
    let side = |key: &str| fields.get(key).map(|at| network(at, NETWORK)).transpose();
    let type_of_service =
        fields.get("type-of-service").map(|at| at.integer(0..=255)).transpose()?;
    let rule = Rule {
        from: side("from")?,
        to: side("to")?,
        table: number(&fields, "table", POSITIVE)?,
        priority: number(&fields, "priority", UNSIGNED)?,
        mark: number(&fields, "mark", POSITIVE)?,
        type_of_service: type_of_service.and_then(|number| u8::try_from(number).ok()),
    };
    match (rule.from, rule.to) {
        (None, None) if rule.mark.is_none() && rule.type_of_service.is_none() => {
            Err(at
                .problem("expected 'from', 'to', 'mark' or 'type-of-service', found none of them"))
        }
        (Some(from), Some(to)) if from.ip.is_ipv4() != to.ip.is_ipv4() => {
            Err(at.problem("'from' and 'to' are of different address families"))
        }
        _ => Ok(rule),
    }
}
