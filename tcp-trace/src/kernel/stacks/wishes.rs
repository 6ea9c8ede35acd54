//! Whose stacks are wanted.

use std::str::FromStr;

use serde::Deserialize;
use tcp_trace_common::{STACK_NAMES, STACK_PIDS, Settings};
use thiserror::Error;

use crate::{core::event::Comm, kernel::btf::Btf};

/// Whose stacks are wanted, and of how many calls one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct StackWishes {
    /// Whether any are.
    pub on: bool,
    /// Of how many calls one; 0 or 1: of each.
    pub every: u32,
    /// Of these processes; without any and without names: of all.
    pub pids: Vec<u32>,
    /// Of threads with these names.
    pub names: Vec<Comm>,
}

/// What is no such wish.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadStackWish {
    /// A share that is none.
    #[error("'{0}' is no share of calls; it takes 1/N, as in 1/100")]
    Share(String),
    /// An empty name.
    #[error("it takes all, off, process numbers, names of up to 15 bytes, or 1/N of the calls")]
    Empty,
    /// More than the programs can look for.
    #[error("at most {STACK_PIDS} process numbers and {STACK_NAMES} names can be given")]
    TooMany,
}

impl FromStr for StackWishes {
    type Err = BadStackWish;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut wishes = Self { on: true, ..Self::default() };
        for wish in text.split(',').map(str::trim) {
            match wish {
                "" => return Err(BadStackWish::Empty),
                "all" | "on" => {}
                "off" => wishes.on = false,
                _ if wish.contains('/') => {
                    let share = wish.strip_prefix("1/").and_then(|share| share.parse().ok());
                    let share = share.filter(|share| *share > 0);
                    wishes.every = share.ok_or_else(|| BadStackWish::Share(wish.to_owned()))?;
                }
                _ => match wish.parse() {
                    Ok(pid) if pid > 0 => wishes.pids.push(pid),
                    _ => wishes.names.push(Comm::from_text(wish)),
                },
            }
        }
        if wishes.pids.len() > STACK_PIDS || wishes.names.len() > STACK_NAMES {
            return Err(BadStackWish::TooMany);
        }
        Ok(wishes)
    }
}

impl TryFrom<String> for StackWishes {
    type Error = BadStackWish;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Bytes of a kernel stack on `x86_64` (`THREAD_SIZE`). The kernel's types do not tell it; the
/// programs check what they find by it.
const KERNEL_STACK: u32 = 16 << 10;

/// Tells the programs.
pub(crate) fn set(settings: &mut Settings, wishes: &StackWishes, btf: Option<&Btf>, arch: &str) {
    settings.stacks = u32::from(wishes.on);
    settings.stack_every = wishes.every;
    for (slot, pid) in settings.stack_pids.iter_mut().zip(&wishes.pids) {
        *slot = *pid;
    }
    for (slots, name) in settings.stack_names.chunks_exact_mut(2).zip(&wishes.names) {
        let (first, second) = name.0.split_at(8);
        for (slot, half) in slots.iter_mut().zip([first, second]) {
            *slot = half.try_into().map_or(0, u64::from_ne_bytes);
        }
    }
    let Some(btf) = btf.filter(|_| wishes.on && arch == "x86_64") else { return };
    let offset = |structure, member| btf.member(structure, member).map(|it| it.offset_bytes);
    // Without them the caller of a wrapper without a frame is not on the stack.
    if let (Ok(stack), Ok(size), Ok(ip), Ok(sp)) = (
        offset("task_struct", "stack"),
        btf.struct_size("pt_regs"),
        offset("pt_regs", "ip"),
        offset("pt_regs", "sp"),
    ) && let Some(regs_at) = KERNEL_STACK.checked_sub(size)
    {
        (settings.task_stack, settings.regs_at) = (stack, regs_at);
        (settings.regs_ip, settings.regs_sp) = (ip, sp);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(text: &str) -> StackWishes {
        text.parse().unwrap()
    }

    #[test]
    fn wishes_are_read_as_they_are_said() {
        let all = StackWishes { on: true, ..StackWishes::default() };
        assert_eq!(wishes("all"), all);
        assert_eq!(wishes("off"), StackWishes::default());
        assert_eq!(wishes("1/100"), StackWishes { every: 100, ..all.clone() });
        let named = StackWishes { names: vec![Comm::from_text("java")], ..all.clone() };
        assert_eq!(wishes("java"), named);
        assert_eq!(wishes("java, 2207,1/10"), StackWishes { pids: vec![2207], every: 10, ..named });
        for bad in ["", "java,", "1/0", "2/3", "1/x", "1,2,3,4,5", "a,b,c,d,e"] {
            assert!(bad.parse::<StackWishes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_programs_are_told_names_as_the_kernel_has_them() {
        let mut settings = Settings::DEFAULT;
        set(&mut settings, &wishes("gunicorn-worker,7"), None, "x86_64");
        assert_eq!((settings.stacks, settings.stack_pids), (1, [7, 0, 0, 0]));
        let bytes: Vec<u8> =
            settings.stack_names.iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(&bytes[..16], b"gunicorn-worker\0");
        assert_eq!(settings.regs_at, 0);
        let mut off = Settings::DEFAULT;
        set(&mut off, &StackWishes::default(), None, "x86_64");
        assert_eq!(off, Settings::DEFAULT);
    }
}
