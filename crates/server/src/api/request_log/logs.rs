//! The logs of this node and of the others, as a caller may read them.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use respoke_core::id::AppId;
use respoke_core::ops::Caller;
use respoke_core::ports::Node;
use respoke_core::refusal::Refusal;
use respoke_core::request_log::{RequestsAsked, RequestsPiece};
use tokio::time::Instant;

use super::merging::Logs;
use crate::request_log::{entry_len, search_cost};
use crate::state::Api;

/// All logs.
///
/// What other nodes send, and what was looked at anywhere, is charged to the caller when this is dropped, as if it were told:
/// whoever hangs up, is refused in the end, or finds nothing has caused it as well.
pub(super) struct AllLogs<'a> {
    api: &'a Api,
    caller: &'a Caller,
    address: IpAddr,
    /// Until when other nodes are waited for, in all.
    until: Instant,
    /// What they sent, and what looking for it cost, in bytes.
    caused: AtomicU64,
}

impl<'a> AllLogs<'a> {
    pub(super) const fn of(api: &'a Api, caller: &'a Caller, address: IpAddr, until: Instant) -> Self {
        Self { api, caller, address, until, caused: AtomicU64::new(0) }
    }

    /// This node.
    pub(super) fn here(&self) -> Node {
        self.api.among.as_ref().map_or(Node::ALONE, |among| among.node())
    }

    /// All nodes.
    pub(super) fn nodes(&self) -> Vec<Node> {
        let mut nodes = self.api.hub.other_nodes();
        nodes.push(self.here());
        nodes
    }
}

impl Logs for AllLogs<'_> {
    async fn piece(&self, node: Node, asked: RequestsAsked) -> Option<RequestsPiece> {
        if node == self.here() {
            let piece = self.api.watch.requests.piece(&asked);
            self.caused.fetch_add(search_cost(&asked, &piece), Ordering::Relaxed);
            // Others have their turn before the next piece: every answer is added to this log.
            tokio::task::yield_now().await;
            return Some(piece);
        }
        let piece = self.api.hub.requests_of(node, asked.clone(), self.until).await?;
        let len: usize = piece.found.iter().map(entry_len).sum();
        self.caused.fetch_add(len as u64 + search_cost(&asked, &piece), Ordering::Relaxed);
        Some(piece)
    }

    async fn sees(&self, app: AppId) -> Result<bool, Refusal> {
        match self.api.broker.get_app(self.caller, app).await {
            Ok(_) => Ok(true),
            Err(Refusal::NotFound(_)) => Ok(false),
            Err(refusal) => Err(refusal),
        }
    }
}

impl Drop for AllLogs<'_> {
    fn drop(&mut self) {
        self.api.accounts.answered(self.caller, self.address, *self.caused.get_mut());
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use respoke_core::ops::Credential;
    use respoke_core::request_log::{RequestFilter, StatusFilter};
    use respoke_core::secret::Secret;
    use serde_json::json;

    use super::*;
    use crate::door::house::House;

    #[tokio::test]
    async fn whoever_hangs_up_pays_for_what_others_sent() {
        const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let house = House::of(2).await;
        let admin = house.admin(0).await;
        let limits = json!({"limits": {"kilobytes": {"perSecond": 1, "burst": 1}}});
        let path = format!("/v1/apps/{}", house.first.app_id);
        let (status, answer) = house.ask(0, "PUT", &path, ("admin-token", &admin), &limits).await;
        assert_eq!(status, 200, "{answer}");
        for _ in 0..50 {
            house.ask(1, "GET", "/v1/roles", house.secret(), &json!({})).await;
        }
        let api = &house.nodes[0].api;
        let secret = Credential::AppSecret(Secret::new(house.secret().1.to_owned()));
        let caller = api.broker.authenticate(&secret, None).await.unwrap();
        let logs = AllLogs::of(api, &caller, HERE, Instant::now() + Duration::from_secs(60));
        let other = logs.nodes()[0];
        let asked = RequestsAsked { filter: RequestFilter::default(), before: None, most: 50 };
        assert_eq!(logs.piece(other, asked).await.unwrap().found.len(), 50);
        assert!(api.accounts.check(&caller, HERE).is_ok());
        // Its future is dropped, and nothing was answered.
        drop(logs);
        assert!(api.accounts.check(&caller, HERE).is_err());
    }
    #[tokio::test]
    async fn whoever_finds_nothing_anywhere_pays_for_the_search() {
        const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let house = House::of(2).await;
        let admin = house.admin(0).await;
        let limits = json!({"limits": {"kilobytes": {"perSecond": 1, "burst": 8}}});
        let path = format!("/v1/apps/{}", house.first.app_id);
        house.ask(0, "PUT", &path, ("admin-token", &admin), &limits).await;
        for _ in 0..200 {
            house.ask(1, "GET", "/v1/roles", ("app-secret", "none"), &json!({})).await;
        }
        let api = &house.nodes[0].api;
        let secret = Credential::AppSecret(Secret::new(house.secret().1.to_owned()));
        let caller = api.broker.authenticate(&secret, None).await.unwrap();
        let filter = RequestFilter { status: StatusFilter::parse("599"), ..RequestFilter::default() };
        for node in [0, 1] {
            assert!(api.accounts.check(&caller, HERE).is_ok());
            let logs = AllLogs::of(api, &caller, HERE, Instant::now() + Duration::from_secs(60));
            let node = logs.nodes()[node];
            let asked = RequestsAsked { filter: filter.clone(), before: None, most: 50 };
            assert_eq!(logs.piece(node, asked).await, Some(RequestsPiece::default()));
            drop(logs);
            let limited = api.accounts.check(&caller, HERE).unwrap_err();
            house.clock.advance_secs(i64::try_from(limited.retry_after.as_secs()).unwrap() + 1);
        }
    }
    #[tokio::test]
    async fn when_the_time_is_over_nobody_is_asked() {
        let house = House::of(2).await;
        let api = &house.nodes[0].api;
        let asked = || RequestsAsked { filter: RequestFilter::default(), before: None, most: 50 };
        let logs = |until| AllLogs::of(api, &Caller::Anonymous, IpAddr::V4(Ipv4Addr::LOCALHOST), until);
        let (now, other) = (Instant::now(), api.hub.other_nodes()[0]);
        assert!(logs(now + Duration::from_secs(60)).piece(other, asked()).await.is_some());
        // The other node here would answer however late it is.
        assert_eq!(logs(now).piece(other, asked()).await, None);
    }
}
