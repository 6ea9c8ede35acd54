// What the dashboards are made of: panels, the grid they stand in, and a frame around them.
//
// Classic JSON of schema version 39, which Grafana 10 and later read.
local datasource = { type: 'prometheus', uid: '${datasource}' };

// One query of a panel.
local target(expr, legend='', extra={}) = {
  datasource: datasource,
  expr: expr,
  legendFormat: legend,
  range: true,
} + extra;

local withRefs(targets) =
  std.mapWithIndex(function(i, t) t { refId: std.char(std.codepoint('A') + i) }, targets);

local base(type, title, description, unit, targets) = {
  type: type,
  title: title,
  description: description,
  datasource: datasource,
  targets: withRefs(targets),
  fieldConfig: { defaults: { unit: unit, color: { mode: 'palette-classic' }, custom: {} }, overrides: [] },
  options: {},
};

local panels = {
  target:: target,

  // One query of this moment alone.
  instant(expr, legend='', extra={}):: target(expr, legend, { instant: true, range: false } + extra),

  // Lines over time; `stack` for parts of a whole.
  timeseries(title, description, unit, targets, stack=false, max=null):: base('timeseries', title, description, unit, targets) {
    fieldConfig+: { defaults+: {
      min: 0,
      [if max != null then 'max']: max,
      custom: {
        drawStyle: 'line',
        lineInterpolation: 'linear',
        lineWidth: 1,
        fillOpacity: if stack then 60 else 8,
        showPoints: 'never',
        spanNulls: false,
        stacking: { group: 'A', mode: if stack then 'normal' else 'none' },
      },
    } },
    options: {
      legend: { displayMode: 'table', placement: 'right', calcs: ['lastNotNull', 'max'], showLegend: true },
      tooltip: { mode: 'multi', sort: 'desc' },
    },
  },

  // One figure, coloured by thresholds: [[from, colour], …], the first from null.
  stat(title, description, unit, targets, thresholds=[[null, 'green']]):: base('stat', title, description, unit, targets) {
    fieldConfig+: { defaults+: {
      color: { mode: 'thresholds' },
      thresholds: { mode: 'absolute', steps: [{ value: step[0], color: step[1] } for step in thresholds] },
    } },
    options: {
      colorMode: 'value',
      graphMode: 'area',
      justifyMode: 'auto',
      orientation: 'auto',
      textMode: 'auto',
      reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
    },
  },

  // A histogram's buckets over time.
  heatmap(title, description, expr):: base('heatmap', title, description, 's', [target(expr, '{{le}}', { format: 'heatmap' })]) {
    options: {
      calculate: false,
      cellGap: 1,
      color: { mode: 'scheme', scheme: 'Spectral', steps: 64, reverse: true, exponent: 0.5, fill: 'dark-orange' },
      yAxis: { axisPlacement: 'left', unit: 's', reverse: false },
      rowsFrame: { layout: 'auto' },
      tooltip: { mode: 'single', yHistogram: false, showColorScale: false },
      legend: { show: false },
      filterValues: { le: 1e-9 },
      showValue: 'never',
    },
  },

  // Rows of this moment; `columns` are [label or 'Value #letter', title], in their order.
  table(title, description, unit, targets, columns, sortBy, hide=[], overrides=[], links=[])::
    base('table', title, description, unit, [t { format: 'table' } for t in targets]) {
      fieldConfig+: {
        defaults+: { custom: { align: 'auto', filterable: false } },
        overrides: overrides + [{
          matcher: { id: 'byName', options: link.column },
          properties: [{ id: 'links', value: [{ title: link.title, url: link.url, targetBlank: false }] }],
        } for link in links],
      },
      options: { showHeader: true, cellHeight: 'sm', sortBy: [{ displayName: sortBy, desc: true }] },
      transformations: [
        { id: 'merge', options: {} },
        {
          id: 'organize',
          options: {
            excludeByName: { Time: true, job: true } + { [name]: true for name in hide },
            indexByName: { [columns[i][0]]: i for i in std.range(0, std.length(columns) - 1) },
            renameByName: { [column[0]]: column[1] for column in columns },
          },
        },
      ],
    },

  // A unit for one column of a table.
  unit(column, unit):: { matcher: { id: 'byName', options: column }, properties: [{ id: 'unit', value: unit }] },

  // Colours for one column of a table.
  colours(column, thresholds):: {
    matcher: { id: 'byName', options: column },
    properties: [
      { id: 'thresholds', value: { mode: 'absolute', steps: [{ value: step[0], color: step[1] } for step in thresholds] } },
      { id: 'color', value: { mode: 'thresholds' } },
      { id: 'custom.cellOptions', value: { type: 'color-text' } },
    ],
  },

  // Words, where a query cannot tell.
  text(title, content):: {
    type: 'text',
    title: title,
    description: title,
    options: { mode: 'markdown', content: content },
  },

  // A row of panels: [[width, panel], …], 24 wide in all, of one height.
  row(title, height, cells):: { title: title, height: height, cells: cells },

  // A dashboard of rows.
  dashboard(config, uid, title, description, variables, rows):: {
    local widths(cells) = [cell[0] for cell in cells],
    local before(cells, i) = std.foldl(function(sum, w) sum + w, widths(cells)[0:i], 0),
    local place(state, row) = {
      local titled = if row.title == null then [] else [{
        id: state.id,
        type: 'row',
        title: row.title,
        collapsed: false,
        panels: [],
        gridPos: { x: 0, y: state.y, w: 24, h: 1 },
      }],
      local top = state.y + std.length(titled),
      local first = state.id + std.length(titled),
      id: first + std.length(row.cells),
      y: top + row.height,
      panels: state.panels + titled + std.mapWithIndex(function(i, cell) cell[1] {
        id: first + i,
        gridPos: { x: before(row.cells, i), y: top, w: cell[0], h: row.height },
      }, row.cells),
    },
    uid: uid,
    id: null,
    title: title,
    description: description,
    tags: config.dashboardTags,
    schemaVersion: 39,
    version: 1,
    editable: true,
    graphTooltip: 1,
    timezone: 'browser',
    refresh: config.dashboardRefresh,
    time: { from: config.dashboardFrom, to: 'now' },
    timepicker: {},
    weekStart: '',
    fiscalYearStartMonth: 0,
    liveNow: false,
    annotations: { list: [{
      name: 'tcp-trace started',
      datasource: datasource,
      enable: true,
      iconColor: 'blue',
      expr: 'changes(process_start_time_seconds{job=~"$job", instance=~"$instance"}[2m]) > 0',
      titleFormat: 'tcp-trace started on {{instance}}',
    }] },
    links: [{
      type: 'dashboards',
      title: 'tcp-trace',
      icon: 'external link',
      tags: config.dashboardTags,
      asDropdown: true,
      includeVars: true,
      keepTime: true,
      targetBlank: false,
      tooltip: '',
      url: '',
    }],
    templating: { list: [{
      name: 'datasource',
      label: 'Data source',
      type: 'datasource',
      query: 'prometheus',
      hide: 0,
      includeAll: false,
      multi: false,
      options: [],
      refresh: 1,
      regex: '',
      skipUrlSync: false,
    }] + [
      {
        name: v.name,
        label: v.label,
        type: 'query',
        datasource: datasource,
        query: { query: v.query, refId: 'Variable' },
        current: { selected: true, text: ['All'], value: ['$__all'] },
        hide: 0,
        includeAll: true,
        allValue: '.+',
        multi: true,
        options: [],
        refresh: 2,
        regex: '',
        skipUrlSync: false,
        sort: 1,
      }
      for v in variables
    ] },
    panels: std.foldl(place, rows, { id: 1, y: 0, panels: [] }).panels,
  },

  // Variables that every dashboard has.
  job(config):: { name: 'job', label: 'Job', query: 'label_values(tcp_trace_build_info{%s}, job)' % config.tcpTraceSelector },
  instance:: { name: 'instance', label: 'Host', query: 'label_values(tcp_trace_build_info{job=~"$job"}, instance)' },
  process:: {
    name: 'process',
    label: 'Process',
    query: 'label_values(tcp_trace_process_connections{job=~"$job", instance=~"$instance"}, process)',
  },

  // What every query is limited to.
  here:: 'job=~"$job", instance=~"$instance"',
};
panels
