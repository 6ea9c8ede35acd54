//! Users of the file, with the bcrypt hashes of their passwords.

use std::{collections::BTreeMap, fmt, str::FromStr as _};

use bcrypt::HashParts;

use super::error::Problem;

const FIELD: &str = "basic_auth_users";
/// What follows the cost in the hash of a password that nobody has.
const NOBODY: &str = "$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";
/// A cost beyond takes longer than Prometheus waits for an answer.
const DEAREST: u32 = 16;

/// The users.
#[derive(Default)]
pub(in crate::serve) struct Users {
    hashes: BTreeMap<String, String>,
    /// Hash against which an unknown user's password is held, so that the time tells nothing.
    nobody: String,
}

impl Users {
    pub(super) fn new(users: &BTreeMap<String, String>) -> Result<Self, Problem> {
        let mut dearest = 4;
        for (user, hash) in users {
            let Ok(parts) = HashParts::from_str(hash) else {
                let problem = format!(
                    "what stands for {user:?} is no bcrypt hash; htpasswd -nBC 10 \"\" makes one"
                );
                return Err(Problem::field(FIELD, problem));
            };
            if parts.get_cost() > DEAREST {
                let problem = format!("the hash of {user:?} has a cost above {DEAREST}");
                return Err(Problem::field(FIELD, problem));
            }
            dearest = dearest.max(parts.get_cost());
        }
        Ok(Self { hashes: users.clone(), nobody: format!("$2y${dearest:02}{NOBODY}") })
    }

    /// Whether nobody is named.
    pub(in crate::serve) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The hash to hold a password of `user` against, and whether there is such a user at all.
    pub(super) fn hash(&self, user: &str) -> (&str, bool) {
        self.hashes.get(user).map_or((&*self.nobody, false), |hash| (hash, true))
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Hashes are nobody's business.
        formatter.debug_set().entries(self.hashes.keys()).finish()
    }
}
