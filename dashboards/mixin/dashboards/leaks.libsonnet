// Who leaks: by process and cause, how old, how fast, how long until it runs out.
local p = import '../panels.libsonnet';
local here = p.here + ', process=~"$process"';

function(config) p.dashboard(
  config,
  'tcp-trace-leaks',
  'tcp-trace / Leaks',
  'CLOSE_WAIT leaks by process and cause, with what to do about each.',
  [p.job(config), p.instance, p.process],
  [
    p.row(null, 4, [
      [6, p.stat('Leaked sockets', 'In CLOSE_WAIT for longer than the threshold, and in no pool at its plateau.', 'none',
                 [p.target('sum(tcp_trace_close_wait_leaked{%s})' % here, 'leaked')], [[null, 'green'], [1, 'red']])],
      [6, p.stat('Oldest', 'The oldest connection in CLOSE_WAIT.', 's',
                 [p.target('max(tcp_trace_close_wait_oldest_seconds{%s})' % here, 'oldest')], [[null, 'green'], [600, 'orange'], [3600, 'red']])],
      [6, p.stat('Came to be leaked', 'Within the time shown.', 'none',
                 [p.target('sum(increase(tcp_trace_close_wait_leaks_total{%s}[$__range]))' % here, 'leaks')], [[null, 'green'], [1, 'orange']])],
      [6, p.stat('Out of descriptors in', 'The first process that will have used all file descriptors it may have, at the present growth.', 's',
                 [p.target('min(tcp_trace_fd_exhaustion_seconds{%s})' % here, 'left')], [[null, 'red'], [1800, 'orange'], [14400, 'green']])],
    ]),
    p.row(null, 9, [
      [24, p.table(
        'By process and cause',
        'not_closed: nothing is left to read and close() is missing. not_read: data or the end of file wait to be read. not_accepted: they stand in the accept queue. send_blocked: the peer does not take what is written.',
        'none',
        [
          p.instant('sum by (job, instance, process, cause) (tcp_trace_close_wait_leaked{%s}) > 0' % here),
          p.instant('sum by (job, instance, process, cause) (increase(tcp_trace_close_wait_leaks_total{%s}[$__range])) > 0' % here),
        ],
        [['instance', 'Host'], ['process', 'Process'], ['cause', 'Cause'], ['Value #A', 'Leaked now'], ['Value #B', 'Came to be leaked']],
        'Leaked now',
        overrides=[p.colours('Leaked now', [[null, 'orange'], [100, 'red']])],
      )],
    ]),
    p.row('How it grows', 9, [
      [12, p.timeseries('Leaked, by process and cause', 'A plateau that old sockets leave is a pool and not counted.', 'none',
                        [p.target('sum by (process, cause) (tcp_trace_close_wait_leaked{%s}) > 0 or sum by (process, cause) (tcp_trace_close_wait_leaked{%s, cause="not_closed"})' % [here, here], '{{process}} {{cause}}')], stack=true)],
      [12, p.timeseries('CLOSE_WAIT, by process', 'All sockets in CLOSE_WAIT, leaked or not.', 'none',
                        [p.target('sum by (process) (tcp_trace_process_connections{%s, state="close_wait"})' % here, '{{process}}')], stack=true)],
    ]),
    p.row(null, 8, [
      [8, p.timeseries('Leaks a minute', 'How many sockets come to be leaked.', 'cpm',
                       [p.target('60 * sum by (process) (rate(tcp_trace_close_wait_leaks_total{%s}[$__rate_interval]))' % here, '{{process}}')])],
      [8, p.timeseries('Age of the oldest', 'Nothing but the process, or its end, removes such a socket.', 's',
                       [p.target('max by (process) (tcp_trace_close_wait_oldest_seconds{%s})' % here, '{{process}}')])],
      [8, p.timeseries('Time to exhaustion', 'Until RLIMIT_NOFILE is reached, at the present growth; a week stands for a week and more.', 's',
                       [p.target('clamp_max(min by (process) (tcp_trace_fd_exhaustion_seconds{%s}), 604800)' % here, '{{process}}')])],
    ]),
    p.row('What to do', 8, [
      [12, p.timeseries('Other sockets that are stuck', 'By kind of finding: dead sockets whose descriptor is open, sockets that a child inherited, FIN_WAIT2 and LAST_ACK that stay, orphans.', 'none',
                        [p.target('sum by (kind) (tcp_trace_diagnosis_findings{%s, kind=~"closed_descriptors|held_after_fork|fin_wait2_held|last_ack_stuck|orphans"})' % p.here, '{{kind}}')])],
      [12, p.text('Runbook', |||
        On the host: `tcp-trace diagnose` names pid, unit, peer, descriptors and, with `--stacks`, the line of code.

        | cause | what to do |
        |---|---|
        | `not_closed` | `close()` where the end of file is read: `with`, `try`-with-resources, `defer`, in error paths too |
        | `not_read` | the reader is stuck or gone: look at its threads (`jstack`, `py-spy`, `gdb`) |
        | `not_accepted` | the server does not `accept()`: it is overloaded, or its loop hangs |
        | `send_blocked` | the peer's window is closed: give writes a time-out |

        Each host serves the runbooks of its version at `/runbooks/`.
      |||)],
    ]),
  ],
)
