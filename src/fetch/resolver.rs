// SPDX-License-Identifier: Apache-2.0
//! Names of hosts to addresses.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use ureq::{
    config::Config,
    http::{Uri, uri::Authority},
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::NextTimeout,
    },
};

/// Looks each name up once: hundreds of requests go to one or two hosts, and a resolver that
/// loses one answer in a hundred would cost seconds each time.
#[derive(Debug, Default)]
pub(super) struct RememberingResolver {
    inner: DefaultResolver,
    known: Mutex<BTreeMap<String, ResolvedSocketAddrs>>,
}

impl Resolver for RememberingResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let (scheme, authority) = (uri.scheme_str(), uri.authority().map(Authority::as_str));
        let key = format!("{}://{}", scheme.unwrap_or_default(), authority.unwrap_or_default());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(addresses) = known.get(&key) {
            return Ok(addresses.clone());
        }
        let addresses = self.inner.resolve(uri, config, timeout)?;
        known.insert(key, addresses.clone());
        Ok(addresses)
    }
}
