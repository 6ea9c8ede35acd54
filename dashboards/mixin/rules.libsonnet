// Recording rules: what dashboards and alerts ask often, and what a fleet keeps for long.
//
// Names say level:metric:operations. Each keeps `job` and `instance`, so that one Prometheus can
// watch many hosts.
{
  local selector = $._config.tcpTraceSelector,
  local by = 'sum by (job, instance%s) (%s)',
  local rate(metric, more='', labels='') =
    by % [labels, 'rate(%s{%s%s}[5m])' % [metric, selector, more]],

  prometheusRules+:: {
    groups+: [{
      name: 'tcp-trace.rules',
      rules: [
        {
          record: 'instance:tcp_trace_diagnosis_findings:sum',
          expr: by % ['', 'tcp_trace_diagnosis_findings{%s}' % selector],
        },
        {
          record: 'instance_process_cause:tcp_trace_close_wait_leaked:sum',
          expr: by % [', process, cause', 'tcp_trace_close_wait_leaked{%s}' % selector],
        },
        {
          record: 'instance_direction:tcp_trace_connections_opened:rate5m',
          expr: rate('tcp_trace_connections_opened_total', labels=', direction'),
        },
        {
          record: 'instance_reason_closed_by:tcp_trace_connections_closed:rate5m',
          expr: rate('tcp_trace_connections_closed_total', labels=', reason, closed_by'),
        },
        {
          record: 'instance:tcp_trace_connections_reset:rate5m',
          expr: rate('tcp_trace_connections_closed_total', ', reason=~"rst_.+|abort_.+|reset_after_fin"'),
        },
        {
          record: 'instance:tcp_trace_connect_errors:rate5m',
          expr: rate('tcp_trace_connect_errors_total'),
        },
        {
          record: 'instance:tcp_trace_handshake_duration_seconds:p99_rate5m',
          expr: 'histogram_quantile(0.99, %s)'
                % rate('tcp_trace_handshake_duration_seconds_bucket', labels=', le'),
        },
        {
          record: 'instance:tcp_trace_time_wait_started:rate5m',
          expr: rate('tcp_trace_time_wait_started_total'),
        },
        {
          record: 'instance:tcp_trace_time_wait_port_usage_ratio:max',
          expr: 'max by (job, instance) (tcp_trace_time_wait_port_usage_ratio{%s})' % selector,
        },
        {
          record: 'instance:tcp_trace_events_lost:rate5m',
          expr: rate('tcp_trace_events_lost_total', ', stage!="subscriber"'),
        },
      ],
    }],
  },
}
