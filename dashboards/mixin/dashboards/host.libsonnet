// One host: where its connections stand, how they begin and end, and who ends them.
local p = import '../panels.libsonnet';
local here = p.here;
local rate(by, metric, more='') = 'sum by (%s) (rate(%s{%s%s}[$__rate_interval]))' % [by, metric, here, more];

function(config) p.dashboard(
  config,
  'tcp-trace-host',
  'tcp-trace / Host',
  'States, handshakes, teardowns, TIME_WAIT and ports of one host or several.',
  [p.job(config), p.instance],
  [
    p.row(null, 4, [
      [4, p.stat('Findings', 'What tcp-trace diagnose would say now.', 'none',
                 [p.target('sum(tcp_trace_diagnosis_findings{%s})' % here, 'findings')], [[null, 'green'], [1, 'orange'], [3, 'red']])],
      [4, p.stat('Established', 'Connections that both ends have open.', 'none',
                 [p.target('sum(tcp_trace_connections{%s, state="established"})' % here, 'established')])],
      [4, p.stat('CLOSE_WAIT', 'The peer has closed, our process has not.', 'none',
                 [p.target('sum(tcp_trace_connections{%s, state="close_wait"})' % here, 'close_wait')])],
      [4, p.stat('TIME_WAIT', 'Connections that this host closed first, each kept for a minute.', 'none',
                 [p.target('sum(tcp_trace_connections{%s, state="time_wait"})' % here, 'time_wait')])],
      [4, p.stat('Half open', 'Handshakes whose last ACK has not come.', 'none',
                 [p.target('sum(tcp_trace_half_open{%s})' % here, 'half open')])],
      [4, p.stat('Ports in use', 'The largest share of the local ports to one destination; at 100 % connect() fails.', 'percentunit',
                 [p.target('max(tcp_trace_time_wait_port_usage_ratio{%s}) or vector(0)' % here, 'ports')], [[null, 'green'], [0.7, 'orange'], [0.9, 'red']])],
    ]),
    p.row('States', 9, [
      [14, p.timeseries('Connections by state', 'Exact, whatever events were lost. close_wait that only grows is a leak; time_wait that grows is this host closing first.', 'none',
                        [p.target('sum by (state) (tcp_trace_connections{%s, state!="listen"})' % here, '{{state}}')], stack=true)],
      [10, p.timeseries('Transitions', 'State changes as the kernel counts them. established → close_wait without as many close_wait → last_ack is how fast a leak grows.', 'cps',
                        [p.target('topk(12, %s > 0)' % rate('from, to', 'tcp_trace_state_transitions_total'), '{{from}} → {{to}}')])],
    ]),
    p.row('Handshakes and teardowns', 8, [
      [8, p.heatmap('Handshake durations', 'From SYN to ESTABLISHED. A band at a second and above is SYNs that were lost.',
                    rate('le', 'tcp_trace_handshake_duration_seconds_bucket'))],
      [8, p.heatmap('Teardown durations', 'From the first FIN to CLOSE, whoever sent it.',
                    rate('le', 'tcp_trace_teardown_duration_seconds_bucket'))],
      [8, p.timeseries('Time in a state, 99th percentile', 'Taken when a socket leaves the state: what is stuck is not in here.', 's',
                       [p.target('histogram_quantile(0.99, %s)' % rate('state, le', 'tcp_trace_state_duration_seconds_bucket', ', state=~"syn_sent|syn_recv|fin_wait1|fin_wait2|close_wait|last_ack|closing"'), '{{state}}')])],
    ]),
    p.row('Who begins, who ends, and why', 8, [
      [8, p.timeseries('Opened', 'outbound: by connect(), whatever came of it; inbound: at the end of the handshake.', 'cps',
                       [p.target(rate('direction', 'tcp_trace_connections_opened_total'), '{{direction}}')])],
      [8, p.timeseries('Who closes first', 'local: this host, which then keeps the TIME_WAIT; none: neither, as in a time-out.', 'cps',
                       [p.target(rate('closed_by', 'tcp_trace_connections_closed_total'), '{{closed_by}}')], stack=true)],
      [8, p.timeseries('Close reasons', 'fin_active and fin_passive are orderly. abort_unread_data: our process closed without reading what it had been sent.', 'cps',
                       [p.target('%s > 0' % rate('reason', 'tcp_trace_connections_closed_total'), '{{reason}}')], stack=true)],
    ]),
    p.row('TIME_WAIT and ports', 8, [
      [8, p.timeseries('TIME_WAIT, begun and ended', 'expired: after its minute; reused: a new connection took the place; overflow: tcp_max_tw_buckets was reached.', 'cps',
                       [
                         p.target(rate('job', 'tcp_trace_time_wait_started_total'), 'begun'),
                         p.target(rate('reason', 'tcp_trace_time_wait_ended_total'), '{{reason}}'),
                         p.target(rate('job', 'tcp_trace_time_wait_overflow_total'), 'overflow'),
                       ])],
      [8, p.timeseries('Local ports in use, by destination', 'The share that connect() cannot choose. At 100 % it fails with EADDRNOTAVAIL.', 'percentunit',
                       [p.target('max by (destination) (tcp_trace_time_wait_port_usage_ratio{%s})' % here, '{{destination}}')], max=1)],
      [8, p.timeseries('Failed connects', 'By the error that connect() gives.', 'cps',
                       [p.target('%s' % rate('error', 'tcp_trace_connect_errors_total'), '{{error}}')])],
    ]),
    p.row('Half-open, resets, what is sent again', 8, [
      [8, p.timeseries('Half-open handshakes', 'Those of this moment; many that never end are a SYN flood.', 'none',
                       [p.target('sum by (instance) (tcp_trace_half_open{%s})' % here, '{{instance}}')])],
      [8, p.timeseries('Queues and cookies', 'As the kernel counts them: overflows of accept queues, SYNs dropped, SYN cookies sent; and handshakes never completed.', 'cps',
                       [
                         p.target(rate('name', 'tcp_trace_kernel_counts_total', ', name=~"ListenOverflows|ListenDrops|SyncookiesSent"'), '{{name}}'),
                         p.target(rate('job', 'tcp_trace_half_open_expired_total'), 'half-open expired'),
                       ])],
      [8, p.timeseries('RSTs and retransmissions', 'RSTs sent and received, and SYNs, SYN-ACKs and FINs sent again.', 'cps',
                       [
                         p.target(rate('direction', 'tcp_trace_resets_total'), 'RST {{direction}}'),
                         p.target(rate('job', 'tcp_trace_synack_retransmits_total'), 'SYN-ACK again'),
                         p.target(rate('job', 'tcp_trace_segments_retransmitted_total'), 'SYN or FIN again'),
                       ])],
    ]),
    p.row('Segments', 8, [
      [12, p.timeseries('Segments by flag', 'What passes the interfaces looked at; on loopback each segment goes out and comes in.', 'pps',
                        [p.target(rate('direction, flag', 'tcp_trace_segments_total'), '{{direction}} {{flag}}')])],
      [12, p.timeseries('Where they went', 'connection: into its timeline; ended: into that of one that had just ended; nobody: no socket of this host was meant; no_room: a flood.', 'pps',
                        [p.target(rate('place', 'tcp_trace_segments_placed_total'), '{{place}}')])],
    ]),
  ],
)
