// Which host is in trouble: the one page to open first.
local p = import '../panels.libsonnet';
local red = [[null, 'green'], [1, 'red']];
local here = p.here;
local by(expr) = 'sum by (job, instance) (%s)' % expr;

function(config) p.dashboard(
  config,
  'tcp-trace-fleet',
  'tcp-trace / Fleet',
  'Hosts ranked by trouble: what tcp-trace diagnose would say on each, in figures.',
  [p.job(config), p.instance],
  [
    p.row(null, 4, [
      [6, p.stat('Hosts that are traced', 'Instances that Prometheus reaches now.', 'none',
                 [p.target('sum(up{%s})' % here, 'up')])],
      [6, p.stat('Hosts that are not reached', 'Instances whose last scrape failed: nothing is seen of them.', 'none',
                 [p.target('sum(1 - up{%s})' % here, 'down')], red)],
      [6, p.stat('Findings', 'What tcp-trace diagnose would say on all hosts together.', 'none',
                 [p.target('sum(tcp_trace_diagnosis_findings{%s})' % here, 'findings')], [[null, 'green'], [1, 'orange']])],
      [6, p.stat('Leaked sockets', 'Sockets in CLOSE_WAIT whose process ought to have closed them, on all hosts.', 'none',
                 [p.target('sum(tcp_trace_close_wait_leaked{%s})' % here, 'leaked')], red)],
    ]),
    p.row(null, 10, [
      [24, p.table(
        'Hosts, worst first',
        'A row for each host: how many findings, what leaks, which share of the ports to its busiest destination is in use, what fails, what tcp-trace itself has lost. Click a host for its own page.',
        'none',
        [
          p.instant(by('tcp_trace_diagnosis_findings{%s}' % here)),
          p.instant(by('tcp_trace_close_wait_leaked{%s}' % here)),
          p.instant('max by (job, instance) (tcp_trace_close_wait_oldest_seconds{%s})' % here),
          p.instant('max by (job, instance) (tcp_trace_time_wait_port_usage_ratio{%s})' % here),
          p.instant(by('rate(tcp_trace_connect_errors_total{%s}[$__rate_interval])' % here)),
          p.instant(by('rate(tcp_trace_resets_total{%s}[$__rate_interval])' % here)),
          p.instant(by('tcp_trace_connections{%s, state="established"}' % here)),
          p.instant(by('increase(tcp_trace_events_lost_total{%s}[$__range])' % here)),
        ],
        [['instance', 'Host'], ['Value #A', 'Findings'], ['Value #B', 'Leaked'], ['Value #C', 'Oldest CLOSE_WAIT'], ['Value #D', 'Ports in use'], ['Value #E', 'Failed connects /s'], ['Value #F', 'RSTs /s'], ['Value #G', 'Established'], ['Value #H', 'Events lost']],
        'Findings',
        overrides=[
          p.colours('Findings', [[null, 'green'], [1, 'orange'], [3, 'red']]),
          p.colours('Leaked', red),
          p.unit('Oldest CLOSE_WAIT', 's'),
          p.unit('Ports in use', 'percentunit'),
          p.colours('Ports in use', [[null, 'green'], [0.7, 'orange'], [0.9, 'red']]),
          p.unit('Failed connects /s', 'cps'),
          p.unit('RSTs /s', 'cps'),
          p.colours('Events lost', [[null, 'green'], [1, 'orange']]),
        ],
        links=[{
          column: 'Host',
          title: 'Open the host',
          url: '/d/tcp-trace-host?${__url_time_range}&var-datasource=${datasource}&var-job=$__all&var-instance=${__data.fields.Host}',
        }],
      )],
    ]),
    p.row('What is wrong', 8, [
      [12, p.timeseries('Findings by kind', 'What tcp-trace diagnose would say, by kind, on all hosts together.', 'none',
                        [p.target('sum by (kind) (tcp_trace_diagnosis_findings{%s}) > 0 or sum by (kind) (tcp_trace_diagnosis_findings{%s, kind="close_wait_leak"})' % [here, here], '{{kind}}')], stack=true)],
      [12, p.timeseries('Leaked sockets by host', 'A line that climbs and never falls is a process that forgets close().', 'none',
                        [p.target('sum by (instance) (tcp_trace_close_wait_leaked{%s})' % here, '{{instance}}')])],
    ]),
    p.row('Traffic', 8, [
      [8, p.timeseries('Connections opened', 'Begun in both directions, by host.', 'cps',
                       [p.target('sum by (instance) (rate(tcp_trace_connections_opened_total{%s}[$__rate_interval]))' % here, '{{instance}}')])],
      [8, p.timeseries('Failed connects', 'Refused, unanswered, or without a local port, by host.', 'cps',
                       [p.target('sum by (instance) (rate(tcp_trace_connect_errors_total{%s}[$__rate_interval]))' % here, '{{instance}}')])],
      [8, p.timeseries('Slowest handshakes', 'The 99th percentile from SYN to ESTABLISHED; a second and more are lost SYNs.', 's',
                       [p.target('histogram_quantile(0.99, sum by (instance, le) (rate(tcp_trace_handshake_duration_seconds_bucket{%s}[$__rate_interval])))' % here, '{{instance}}')])],
    ]),
  ],
)
