//! How far into the host this process may look. Pure.

use crate::kernel::{
    host::{CAP_SYS_ADMIN, HostFacts},
    netns::Netns,
    plan::Degradation,
};

/// `CAP_SYS_PTRACE`.
const CAP_SYS_PTRACE: u8 = 19;

/// What is given up for want of privileges, where namespaces other than our own are traced too.
pub(super) fn degradations(facts: &HostFacts, netns: &[Netns]) -> Vec<Degradation> {
    let only_own = !netns.is_empty() && netns.iter().all(|netns| Some(netns.inode) == facts.netns);
    let note = |feature: &str, reason: &str, effect: &str| Degradation {
        feature: feature.to_owned(),
        reason: reason.to_owned(),
        effect: effect.to_owned(),
    };
    let mut all = Vec::new();
    if !facts.has(CAP_SYS_ADMIN) && !only_own {
        all.push(note(
            "snapshots",
            "entering other network namespaces takes CAP_SYS_ADMIN",
            "sockets that were there before are known in our own namespace only; losses elsewhere stay",
        ));
    }
    if !facts.has(CAP_SYS_PTRACE) {
        all.push(note(
            "holders",
            "looking into other users' processes takes CAP_SYS_PTRACE",
            "sockets of theirs that were there before have no owner, and namespaces that only they live in are not found",
        ));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(capabilities: u64, netns: &[u32]) -> Vec<String> {
        let facts = HostFacts { capabilities, netns: Some(5), ..HostFacts::gather(None) };
        let netns: Vec<_> =
            netns.iter().map(|inode| Netns { inode: *inode, handle: None }).collect();
        degradations(&facts, &netns).into_iter().map(|given_up| given_up.feature).collect()
    }

    #[test]
    fn what_is_missing_is_told_where_it_matters() {
        assert!(features(u64::MAX, &[]).is_empty());
        assert_eq!(features(1 << CAP_SYS_PTRACE, &[]), ["snapshots"]);
        assert_eq!(features(1 << CAP_SYS_PTRACE, &[5, 6]), ["snapshots"]);
        assert!(features(1 << CAP_SYS_PTRACE, &[5]).is_empty());
        assert_eq!(features(1 << CAP_SYS_ADMIN, &[]), ["holders"]);
    }
}
