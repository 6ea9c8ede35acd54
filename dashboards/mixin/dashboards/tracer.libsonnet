// tcp-trace itself: what it costs, what it has lost, what it does not see.
local p = import '../panels.libsonnet';
local here = p.here;
local rate(by, metric, more='') = 'sum by (%s) (rate(%s{%s%s}[$__rate_interval]))' % [by, metric, here, more];

function(config) p.dashboard(
  config,
  'tcp-trace-tracer',
  'tcp-trace / Tracer',
  'Its own cost, losses and coverage: whether to believe the other pages.',
  [p.job(config), p.instance],
  [
    p.row(null, 4, [
      [4, p.stat('Events lost', 'Within the time shown, wherever they died; counters stay exact, timelines have gaps.', 'none',
                 [p.target('sum(increase(tcp_trace_events_lost_total{%s}[$__range]))' % here, 'lost')], [[null, 'green'], [1, 'red']])],
      [4, p.stat('Coverage', 'The lowest share of what the kernel has counted that tcp-trace has seen.', 'percentunit',
                 [p.target('min(tcp_trace_coverage_ratio{%s})' % here, 'coverage')], [[null, 'red'], [0.95, 'orange'], [0.99, 'green']])],
      [4, p.stat('CPU', 'Of one CPU, by the daemon; the kernel programs are below.', 'percentunit',
                 [p.target('sum(rate(process_cpu_seconds_total{%s}[$__rate_interval]))' % here, 'cpu')], [[null, 'green'], [0.2, 'orange'], [0.5, 'red']])],
      [4, p.stat('Memory', 'Resident memory of the daemon.', 'bytes',
                 [p.target('max(process_resident_memory_bytes{%s})' % here, 'rss')])],
      [4, p.stat('Table', 'How full the table of connections is.', 'percentunit',
                 [p.target('max(tcp_trace_table_connections{%s} / tcp_trace_table_limit{%s})' % [here, here], 'table')], [[null, 'green'], [0.8, 'orange'], [0.95, 'red']])],
      [4, p.stat('Uptime', 'Since the daemon began; ages are lower bounds for what is older.', 's',
                 [p.target('min(time() - process_start_time_seconds{%s})' % here, 'up')])],
    ]),
    p.row('Losses and coverage', 8, [
      [8, p.timeseries('Events', 'By kind, as they reach the tracer.', 'cps',
                       [p.target('%s > 0' % rate('kind', 'tcp_trace_events_total'), '{{kind}}')], stack=true)],
      [8, p.timeseries('Events lost', 'By the place where they died. output_enospc: a perf buffer was full.', 'cps',
                       [
                         p.target('topk(5, %s)' % rate('stage', 'tcp_trace_events_lost_total'), '{{stage}}'),
                         p.target(rate('job', 'tcp_trace_events_lost_total'), 'all'),
                         p.target(rate('job', 'tcp_trace_perf_record_lost_total'), 'told by the perf buffers'),
                       ])],
      [8, p.timeseries('Coverage', 'Own count over the kernel’s own: 100 % where they agree; 200 % stands for more, which attempt_fails has where connect() found no port.', 'percentunit',
                       [p.target('clamp_max(min by (counter) (tcp_trace_coverage_ratio{%s}), 2)' % here, '{{counter}}')])],
    ]),
    p.row(null, 8, [
      [8, p.timeseries('Put right by snapshots', 'state: a connection stood elsewhere; found: a socket was not known; gone: it was no longer there.', 'none',
                       [p.target('sum by (kind) (increase(tcp_trace_reconciled_total{%s}[$__rate_interval]))' % here, '{{kind}}')])],
      [8, p.timeseries('Order and oddities', 'Records too late to be put in order, changes Linux does not make, timelines with steps missing, events about unknown sockets.', 'none',
                       [
                         p.target('sum(increase(tcp_trace_late_records_total{%s}[$__rate_interval]))' % here, 'late'),
                         p.target('sum(increase(tcp_trace_illegal_transitions_total{%s}[$__rate_interval]))' % here, 'illegal'),
                         p.target('sum(increase(tcp_trace_incomplete_timelines_total{%s}[$__rate_interval]))' % here, 'incomplete'),
                         p.target('sum(increase(tcp_trace_events_unmatched_total{%s}[$__rate_interval]))' % here, 'unmatched'),
                       ])],
      [8, p.timeseries('Snapshots and namespaces', 'Lists of all sockets by result, and the network namespaces that are traced.', 'none',
                       [
                         p.target('sum by (result) (increase(tcp_trace_snapshots_total{%s}[$__rate_interval]))' % here, '{{result}}'),
                         p.target('sum(tcp_trace_namespaces{%s})' % here, 'namespaces'),
                         p.target('sum(increase(tcp_trace_namespaces_gone_total{%s}[$__rate_interval]))' % here, 'namespaces gone'),
                       ])],
    ]),
    p.row(null, 8, [
      [8, p.timeseries('Longest pass', 'The longest that the perf buffers have waited, since the start, because the tracer was busy.', 's',
                       [p.target('max by (instance) (tcp_trace_longest_pass_seconds{%s})' % here, '{{instance}}')])],
    ]),
    p.row('What it costs', 8, [
      [8, p.timeseries('CPU of the daemon', 'Of one CPU.', 'percentunit',
                       [p.target(rate('instance', 'process_cpu_seconds_total'), '{{instance}}')])],
      [8, p.timeseries('CPU of the kernel programs', 'Of one CPU; 0 while sysctl kernel.bpf_stats_enabled is 0, for keeping the statistics costs too.', 'percentunit',
                       [p.target(rate('program', 'tcp_trace_probe_run_seconds_total'), '{{program}}')])],
      [8, p.timeseries('Runs of the kernel programs', 'Likewise 0 without statistics; missed: the kernel skipped one, caught: its second took it.', 'cps',
                       [
                         p.target(rate('program', 'tcp_trace_probe_runs_total'), '{{program}}'),
                         p.target(rate('job', 'tcp_trace_probe_misses_total'), 'missed'),
                         p.target(rate('job', 'tcp_trace_probe_caught_total'), 'caught'),
                       ])],
    ]),
    p.row(null, 8, [
      [6, p.timeseries('Memory', 'Resident, and address space.', 'bytes',
                       [
                         p.target('sum by (instance) (process_resident_memory_bytes{%s})' % here, '{{instance}} resident'),
                         p.target('sum by (instance) (process_virtual_memory_bytes{%s})' % here, '{{instance}} virtual'),
                       ])],
      [6, p.timeseries('Descriptors', 'Open, and how many the daemon may have.', 'none',
                       [
                         p.target('sum by (instance) (process_open_fds{%s})' % here, '{{instance}} open'),
                         p.target('sum by (instance) (process_max_fds{%s})' % here, '{{instance}} limit'),
                       ])],
      [6, p.timeseries('User stacks', 'What has become of those that --stacks asks for; all 0 where it was not given.', 'cps',
                       [p.target(rate('result', 'tcp_trace_stacks_total'), '{{result}}')])],
      [6, p.timeseries('Table', 'Connections and listeners held, the limit, and segments that wait for their connection.', 'none',
                       [
                         p.target('sum by (instance) (tcp_trace_table_connections{%s})' % here, '{{instance}} held'),
                         p.target('sum by (instance) (tcp_trace_table_limit{%s})' % here, '{{instance}} limit'),
                         p.target('sum by (instance) (tcp_trace_segments_pending{%s})' % here, '{{instance}} segments pending'),
                       ])],
    ]),
    p.row('Full or folded', 8, [
      [8, p.timeseries('Mode', 'folded: short connections are told in one record at their end, and why.', 'none',
                       [
                         p.target('sum by (mode) (tcp_trace_mode{%s})' % here, '{{mode}}'),
                         p.target('sum by (reason) (tcp_trace_folding{%s})' % here, 'for {{reason}}'),
                         p.target('sum(increase(tcp_trace_mode_changes_total{%s}[$__rate_interval]))' % here, 'changes'),
                       ])],
      [8, p.timeseries('Connections folded', 'Told in one record, every step with its own time.', 'cps',
                       [p.target(rate('job', 'tcp_trace_folded_connections_total'), 'folded')])],
      [8, p.timeseries('Time folded', 'The share of the time in which connections are folded.', 'percentunit',
                       [p.target(rate('job', 'tcp_trace_folded_seconds_total'), 'folded')])],
    ]),
    p.row('Its own web server', 8, [
      [8, p.timeseries('Requests refused', 'By reason: a wrong password, a rate, a foreign Host, too many scrapes at once.', 'cps',
                       [p.target(rate('reason', 'tcp_trace_web_requests_refused_total'), '{{reason}}')])],
      [8, p.timeseries('Connections dropped', 'By reason: silent ones that gave their place to others, and handshakes that failed.', 'cps',
                       [p.target(rate('reason', 'tcp_trace_web_connections_dropped_total'), '{{reason}}')])],
      [8, p.table('Web configuration', 'Whether the file was right when it was last read; a wrong one leaves the last good one in force.', 'none',
                  [
                    p.instant('min by (job, instance) (tcp_trace_web_config_reload_successful{%s})' % here),
                    p.instant('max by (job, instance) (1000 * tcp_trace_web_config_reload_success_timestamp_seconds{%s})' % here),
                  ],
                  [['instance', 'Host'], ['Value #A', 'In force'], ['Value #B', 'Read']],
                  'Host',
                  overrides=[p.colours('In force', [[null, 'red'], [1, 'green']]), p.unit('Read', 'dateTimeAsIso')])],
    ]),
    p.row('What is folded, and what is attached', 9, [
      [8, p.timeseries('Folded', 'Segments beyond --segment-rate, process names beyond --process-series, services and destinations beyond what is kept apart, and packets that are no TCP.', 'none',
                       [
                         p.target('sum(increase(tcp_trace_segments_folded_total{%s}[$__rate_interval]))' % here, 'segments'),
                         p.target('sum(tcp_trace_process_names_folded{%s})' % here, 'process names'),
                         p.target('sum(tcp_trace_time_wait_port_destinations_folded{%s})' % here, 'destinations'),
                         p.target('sum(tcp_trace_diagnosis_folded{%s})' % here, 'services'),
                         p.target('sum(increase(tcp_trace_owner_lookups_refused_total{%s}[$__rate_interval]))' % here, 'owner look-ups'),
                         p.target('sum by (reason) (increase(tcp_trace_packets_passed_over_total{%s}[$__rate_interval]))' % here, 'packets: {{reason}}'),
                       ])],
      [8, p.table('Hooks attached', 'One way for each feature is enough; tcp-trace doctor tells why another is refused.', 'none',
                  [p.instant('max by (job, instance, hook, program, backend) (tcp_trace_probe_attached{%s}) > 0' % here)],
                  [['instance', 'Host'], ['hook', 'Hook'], ['program', 'Program'], ['backend', 'Way'], ['Value', 'Attached']], 'Hook', hide=['Value'])],
      [8, p.table('Versions and interfaces', 'Which build runs where, and how many interfaces each way of seeing segments covers.', 'none',
                  [
                    p.instant('max by (job, instance, version, target) (tcp_trace_build_info{%s})' % here),
                    p.instant('sum by (job, instance) (tcp_trace_segment_interfaces{%s})' % here),
                  ],
                  [['instance', 'Host'], ['version', 'Version'], ['target', 'Target'], ['Value #B', 'Interfaces']], 'Host', hide=['Value #A'])],
    ]),
  ],
)
