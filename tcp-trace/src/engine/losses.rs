//! The places where a record can die on its way out of the kernel, by name.

use crate::kernel::counters::Counters;

/// Failed outputs by stage; every stage, zeros included.
pub(super) fn outputs(counters: &Counters) -> Vec<(&'static str, u64)> {
    let state = counters.output_errors().map(|(errno, count)| (state_stage(errno), count));
    let life = counters.life_output_errors().map(|(errno, count)| (life_stage(errno), count));
    let segment =
        counters.segment_output_errors().map(|(errno, count)| (segment_stage(errno), count));
    let stack = counters.stack_output_errors().map(|(errno, count)| (stack_stage(errno), count));
    state.chain(life).chain(segment).chain(stack).collect()
}

/// A state change that could not be handed over.
fn state_stage(errno: &str) -> &'static str {
    match errno {
        "enospc" => "output_enospc",
        "ebusy" => "output_ebusy",
        "enoent" => "output_enoent",
        "e2big" => "output_e2big",
        "eopnotsupp" => "output_eopnotsupp",
        "einval" => "output_einval",
        "eperm" => "output_eperm",
        _ => "output_other",
    }
}

/// Any other record that could not be handed over.
fn life_stage(errno: &str) -> &'static str {
    match errno {
        "enospc" => "output_life_enospc",
        "ebusy" => "output_life_ebusy",
        "enoent" => "output_life_enoent",
        "e2big" => "output_life_e2big",
        "eopnotsupp" => "output_life_eopnotsupp",
        "einval" => "output_life_einval",
        "eperm" => "output_life_eperm",
        _ => "output_life_other",
    }
}

/// A segment that could not be handed over.
fn segment_stage(errno: &str) -> &'static str {
    match errno {
        "enospc" => "output_segment_enospc",
        "ebusy" => "output_segment_ebusy",
        "enoent" => "output_segment_enoent",
        "e2big" => "output_segment_e2big",
        "eopnotsupp" => "output_segment_eopnotsupp",
        "einval" => "output_segment_einval",
        "eperm" => "output_segment_eperm",
        _ => "output_segment_other",
    }
}

/// A stack that could not be handed over.
fn stack_stage(errno: &str) -> &'static str {
    match errno {
        "enospc" => "output_stack_enospc",
        "ebusy" => "output_stack_ebusy",
        "enoent" => "output_stack_enoent",
        "e2big" => "output_stack_e2big",
        "eopnotsupp" => "output_stack_eopnotsupp",
        "einval" => "output_stack_einval",
        "eperm" => "output_stack_eperm",
        _ => "output_stack_other",
    }
}
