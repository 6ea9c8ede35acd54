// Alerts: each names who, by its labels, and what to do, by its runbook.
//
// `critical` wakes somebody: connections fail now or within minutes. `warning` is for the next
// working hour. `info` says that tcp-trace sees less than it could.
{
  local c = $._config,
  local vars = c { s: c.tcpTraceSelector },
  local alert(name, severity, hold, expr, summary, description) = {
    alert: name,
    expr: expr % vars,
    [if hold != null then 'for']: hold,
    labels: { severity: severity },
    annotations: {
      summary: summary,
      description: description,
      runbook_url: c.runbookUrl % name,
    },
  },
  // A kind of finding of the diagnosis, which has its own thresholds.
  local found(kind) = 'tcp_trace_diagnosis_findings{%%(s)s, kind=~"%s"} > 0' % kind,

  prometheusAlerts+:: {
    groups+: [
      {
        name: 'tcp-trace.leaks',
        rules: [
          alert(
            'TcpTraceCloseWaitLeak',
            'warning',
            '5m',
            'sum by (job, instance, process, cause) (tcp_trace_close_wait_leaked{%(s)s}) > 0',
            '{{ $labels.process }} on {{ $labels.instance }} leaks sockets in CLOSE_WAIT ({{ $labels.cause }})',
            '{{ $value }} sockets whose peer has closed stay open in {{ $labels.process }}: {{ $labels.cause }}.',
          ),
          alert(
            'TcpTraceCloseWaitLeakGrows',
            'warning',
            '10m',
            |||
              sum by (job, instance, process) (increase(tcp_trace_close_wait_leaks_total{%(s)s}[30m])) > %(closeWaitLeaksPerHalfHour)d
              and
              sum by (job, instance, process) (tcp_trace_close_wait_leaked{%(s)s}) > 0
            |||,
            'The CLOSE_WAIT leak of {{ $labels.process }} on {{ $labels.instance }} grows',
            '{{ printf "%.0f" $value }} more sockets came to be leaked within half an hour.',
          ),
          alert(
            'TcpTraceCloseWaitOld',
            'warning',
            '5m',
            |||
              max by (job, instance, process) (tcp_trace_close_wait_oldest_seconds{%(s)s}) > %(closeWaitOldestSeconds)d
              and
              sum by (job, instance, process) (tcp_trace_close_wait_leaked{%(s)s}) > 0
            |||,
            'A socket of {{ $labels.process }} on {{ $labels.instance }} has been in CLOSE_WAIT for {{ humanizeDuration $value }}',
            'Nothing but {{ $labels.process }}, or its end, removes such a socket.',
          ),
          alert(
            'TcpTraceFdExhaustionAhead',
            'warning',
            '5m',
            'min by (job, instance, process) (tcp_trace_fd_exhaustion_seconds{%(s)s}) < %(fdExhaustionSeconds)d',
            '{{ $labels.process }} on {{ $labels.instance }} runs out of file descriptors in {{ humanizeDuration $value }}',
            'Its leaked sockets use up RLIMIT_NOFILE; then accept(), connect() and open() fail with EMFILE.',
          ),
          alert(
            'TcpTraceFdExhaustionNear',
            'critical',
            '1m',
            'min by (job, instance, process) (tcp_trace_fd_exhaustion_seconds{%(s)s}) < %(fdExhaustionCriticalSeconds)d',
            '{{ $labels.process }} on {{ $labels.instance }} is about to run out of file descriptors',
            '{{ humanizeDuration $value }} are left at the present growth: restart it, or raise its limit, now.',
          ),
          alert(
            'TcpTraceStuckSockets',
            'warning',
            '10m',
            found('closed_descriptors|held_after_fork|fin_wait2_held|last_ack_stuck|orphans|retransmits'),
            'Sockets are stuck on {{ $labels.instance }}: {{ $labels.kind }}',
            'tcp-trace diagnose on {{ $labels.instance }} names the process, the peer and the way out.',
          ),
        ],
      },
      {
        name: 'tcp-trace.ports',
        rules: [
          alert(
            'TcpTracePortPressure',
            'warning',
            '2m',
            'max by (job, instance, destination) (tcp_trace_time_wait_port_usage_ratio{%(s)s}) > %(portUsageRatio)g',
            '{{ $labels.instance }} has used {{ humanizePercentage $value }} of its local ports to {{ $labels.destination }}',
            'When all are in use, connect() fails with EADDRNOTAVAIL. Keep connections, or let the peer close first.',
          ),
          alert(
            'TcpTraceNoPortLeft',
            'critical',
            null,
            'sum by (job, instance) (increase(tcp_trace_connect_errors_total{%(s)s, error="eaddrnotavail"}[5m])) > 0',
            'connect() fails on {{ $labels.instance }}: no local port is left',
            '{{ printf "%.0f" $value }} connects failed with EADDRNOTAVAIL within five minutes.',
          ),
          alert(
            'TcpTraceTimeWaitOverflow',
            'warning',
            null,
            |||
              sum by (job, instance) (increase(tcp_trace_time_wait_overflow_total{%(s)s}[5m])) > 0
              or
              sum by (job, instance) (increase(tcp_trace_kernel_counts_total{%(s)s, name="TCPTimeWaitOverflow"}[5m])) > 0
            |||,
            'The TIME_WAIT table of {{ $labels.instance }} overflows',
            '{{ printf "%.0f" $value }} connections went without TIME_WAIT within five minutes: tcp_max_tw_buckets is reached.',
          ),
        ],
      },
      {
        name: 'tcp-trace.connections',
        rules: [
          alert(
            'TcpTraceHalfOpenFlood',
            'critical',
            '2m',
            found('syn_recv_flood'),
            'Handshakes pile up half done on {{ $labels.instance }}',
            'A SYN flood, or SYN-ACKs that do not reach the peer.',
          ),
          alert(
            'TcpTraceAcceptQueueOverflow',
            'critical',
            '2m',
            |||
              tcp_trace_diagnosis_findings{%(s)s, kind="accept_queue"} > 0
              or on (job, instance)
              sum by (job, instance) (rate(tcp_trace_kernel_counts_total{%(s)s, name="ListenOverflows"}[5m])) > 0
            |||,
            'An accept queue of {{ $labels.instance }} overflows',
            'A server does not accept() as fast as its clients connect; they wait, or give up.',
          ),
          alert(
            'TcpTraceResets',
            'warning',
            '5m',
            |||
              instance:tcp_trace_connections_reset:rate5m
                / on (job, instance) sum by (job, instance) (instance_reason_closed_by:tcp_trace_connections_closed:rate5m)
                > %(resetRatio)g
              and on (job, instance)
              instance:tcp_trace_connections_reset:rate5m > %(leastEventsPerSecond)g
            |||,
            '{{ humanizePercentage $value }} of the connections of {{ $labels.instance }} end with a RST',
            'Who sends them, and why, is told by tcp-trace diagnose and by the reasons on the Host dashboard.',
          ),
          alert(
            'TcpTraceConnectFailures',
            'warning',
            '5m',
            |||
              instance:tcp_trace_connect_errors:rate5m
                / on (job, instance) instance_direction:tcp_trace_connections_opened:rate5m{direction="outbound"}
                > %(connectFailureRatio)g
              and on (job, instance)
              instance:tcp_trace_connect_errors:rate5m > %(leastEventsPerSecond)g
            |||,
            '{{ humanizePercentage $value }} of the connects of {{ $labels.instance }} fail',
            'Refused, unanswered or without a port: by error on the Host dashboard, by destination in tcp-trace diagnose.',
          ),
        ],
      },
      {
        name: 'tcp-trace.tracer',
        rules: [
          alert(
            'TcpTraceDown',
            'critical',
            '5m',
            'up{%(s)s} == 0',
            'tcp-trace on {{ $labels.instance }} is down',
            'Prometheus has not reached it for five minutes: nothing is seen of that host.',
          ),
          alert(
            'TcpTraceEventsLost',
            'warning',
            '5m',
            'instance:tcp_trace_events_lost:rate5m > 0',
            'tcp-trace on {{ $labels.instance }} loses events',
            '{{ printf "%.1f" $value }} a second: counters stay exact, timelines get gaps.',
          ),
          alert(
            'TcpTraceProbeMissing',
            'warning',
            '5m',
            |||
              max by (job, instance, program, hook) (max_over_time(tcp_trace_probe_attached{%(s)s}[1h]))
                > max by (job, instance, program, hook) (tcp_trace_probe_attached{%(s)s})
            |||,
            'tcp-trace on {{ $labels.instance }} has lost its hook on {{ $labels.hook }}',
            '{{ $labels.program }} was attached within the last hour and is not now: tcp-trace doctor tells why, and what is lost.',
          ),
          alert(
            'TcpTraceCoverageLow',
            'warning',
            '15m',
            'min by (job, instance, counter) (tcp_trace_coverage_ratio{%(s)s}) < %(coverageRatio)g',
            'tcp-trace on {{ $labels.instance }} sees only {{ humanizePercentage $value }} of {{ $labels.counter }}',
            'The kernel has counted more than tcp-trace: look at tcp_trace_probe_misses_total and tcp-trace status.',
          ),
          alert(
            'TcpTraceTableFull',
            'warning',
            '5m',
            |||
              max by (job, instance) (tcp_trace_table_connections{%(s)s})
                / max by (job, instance) (tcp_trace_table_limit{%(s)s}) > %(tableRatio)g
            |||,
            'The connection table of tcp-trace on {{ $labels.instance }} is {{ humanizePercentage $value }} full',
            'Beyond its limit new connections are counted but have no timeline: raise --max-connections.',
          ),
          alert(
            'TcpTraceWebConfigWrong',
            'warning',
            '5m',
            'max by (job, instance) (tcp_trace_web_config_reload_successful{%(s)s}) == 0',
            'tcp-trace on {{ $labels.instance }} cannot use its web configuration',
            'The last good one is in force, certificates and passwords among it; its log says what is wrong.',
          ),
          alert(
            'TcpTraceSnapshotsFail',
            'info',
            '15m',
            'sum by (job, instance) (rate(tcp_trace_snapshots_total{%(s)s, result!="whole"}[5m])) > 0',
            'tcp-trace on {{ $labels.instance }} cannot list all sockets',
            'What was lost is put right by these lists; its log says why they fail or are cut.',
          ),
        ],
      },
    ],
  },
}
