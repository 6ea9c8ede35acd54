// Draws each panel of DATA.board where it stands, from DATA.answers.
const WIDTH = 1572;
const CELL = WIDTH / 24;
const HEIGHT = 34;
const COLOURS = ['#73bf69', '#f2cc0c', '#5794f2', '#ff9830', '#f2495c', '#b877d9', '#37872d', '#8ab8ff',
  '#fade2a', '#ffa6b0', '#ca95e5', '#56a64b', '#e0b400', '#1f60c4', '#fa6400', '#c4162a'];
const NAMED = { green: '#73bf69', orange: '#ff9830', red: '#f2495c' };

const main = document.querySelector('main');
document.querySelector('h1').textContent = DATA.board.title;
document.querySelector('header p').textContent = DATA.board.description;

for (const panel of DATA.board.panels) draw(panel);
main.style.height = Math.max(...DATA.board.panels.map((p) => (p.gridPos.y + p.gridPos.h) * HEIGHT)) + 'px';

function draw(panel) {
  const box = document.createElement('section');
  const at = panel.gridPos;
  Object.assign(box.style, {
    left: at.x * CELL + 'px',
    top: at.y * HEIGHT + 'px',
    width: at.w * CELL - 6 + 'px',
    height: at.h * HEIGHT - 6 + 'px',
  });
  box.className = panel.type;
  const title = document.createElement('h2');
  title.textContent = (panel.type === 'row' ? '▾ ' : '') + panel.title;
  box.append(title);
  main.append(box);
  const answers = (panel.targets ?? []).map((target) => ({
    target,
    result: DATA.answers.find((a) => a.panel === panel.id && a.refId === target.refId)?.result ?? [],
  }));
  const kinds = { timeseries, stat, heatmap, table, text };
  kinds[panel.type]?.(box, panel, answers);
}

function number(text) {
  if (text === '+Inf') return Infinity;
  if (text === '-Inf') return -Infinity;
  return Number(text);
}

function legend(target, metric) {
  if (!target.legendFormat) return Object.values(metric).join(' ');
  return target.legendFormat.replace(/{{\s*(\w+)\s*}}/g, (_, name) => metric[name] ?? '');
}

function chartIn(box) {
  const element = document.createElement('div');
  element.className = 'chart';
  box.append(element);
  return echarts.init(element, null, { renderer: 'svg' });
}

function clock(seconds) {
  return new Date(seconds * 1000).toISOString().slice(11, 19);
}

function timeseries(box, panel, answers) {
  const { unit, custom } = panel.fieldConfig.defaults;
  const stacked = custom.stacking.mode === 'normal';
  const lines = answers.flatMap(({ target, result }) =>
    result.map((r) => ({ name: legend(target, r.metric), values: r.values })));
  // Lines without anything to show come last, and the palette is for the others.
  const peak = (line) => Math.max(...line.values.map(([, v]) => number(v)).filter(Number.isFinite), 0);
  lines.sort((a, b) => peak(b) - peak(a));
  const shown = lines.slice(0, 14);
  chartIn(box).setOption({
    animation: false,
    color: COLOURS,
    grid: { left: 62, right: 168, top: 10, bottom: 24 },
    legend: {
      type: 'plain', orient: 'vertical', right: 4, top: 4, itemWidth: 12, itemHeight: 3, itemGap: 9,
      textStyle: { color: '#ccccdc', fontSize: 10, width: 136, overflow: 'truncate' },
    },
    xAxis: {
      type: 'value', min: DATA.start, max: DATA.end, splitLine: { show: false },
      axisLabel: { color: '#8e8e99', fontSize: 10, hideOverlap: true, formatter: clock },
    },
    yAxis: {
      type: 'value', min: 0, max: panel.fieldConfig.defaults.max ?? null,
      splitLine: { lineStyle: { color: '#25272c' } },
      axisLabel: { color: '#8e8e99', fontSize: 10, formatter: (v) => format(unit, v) },
    },
    series: shown.map((line) => ({
      name: line.name, type: 'line', showSymbol: false, lineStyle: { width: 1.2 },
      stack: stacked ? 'all' : undefined,
      areaStyle: { opacity: stacked ? 0.55 : 0.06 },
      data: line.values.map(([t, v]) => [t, number(v)]).filter(([, v]) => Number.isFinite(v)),
    })),
  });
}

function thresholdColour(steps, value) {
  let colour = steps[0]?.color;
  for (const step of steps) if (step.value === null || value >= step.value) colour = step.color;
  return NAMED[colour] ?? '#ccccdc';
}

function stat(box, panel, answers) {
  const values = answers[0]?.result[0]?.values;
  const value = values ? number(values.at(-1)[1]) : null;
  const figure = document.createElement('div');
  figure.className = 'stat';
  figure.textContent = format(panel.fieldConfig.defaults.unit, value);
  figure.style.color = thresholdColour(panel.fieldConfig.defaults.thresholds.steps, value);
  box.append(figure);
}

function heatmap(box, panel, answers) {
  const rows = (answers[0]?.result ?? [])
    .map((r) => ({ le: number(r.metric.le), values: new Map(r.values.map(([t, v]) => [t, number(v)])) }))
    .sort((a, b) => a.le - b.le);
  const times = [...new Set(rows.flatMap((r) => [...r.values.keys()]))].sort((a, b) => a - b);
  // Buckets count everything below them: what is in one is the difference to the one before.
  const cells = [];
  rows.forEach((row, y) => times.forEach((t, x) => {
    const below = y > 0 ? rows[y - 1].values.get(t) ?? 0 : 0;
    const here = (row.values.get(t) ?? 0) - below;
    if (here > 1e-9) cells.push([x, y, here]);
  }));
  const used = cells.map(([, y]) => y);
  const low = Math.max(Math.min(...used) - 1, 0);
  const high = Math.max(...used) + 1;
  chartIn(box).setOption({
    animation: false,
    grid: { left: 62, right: 14, top: 10, bottom: 24 },
    xAxis: { type: 'category', data: times.map(clock), axisLabel: { color: '#8e8e99', fontSize: 10, interval: Math.ceil(times.length / 5) } },
    yAxis: { type: 'category', min: low, max: high, data: rows.map((r) => format('s', r.le)), axisLabel: { color: '#8e8e99', fontSize: 10 } },
    visualMap: { show: false, min: 0, max: Math.max(...cells.map(([, , v]) => v), 1e-9), inRange: { color: ['#1f3a5f', '#3d71d9', '#8ab8ff', '#fade2a', '#ff780a', '#c4162a'] } },
    series: [{ type: 'heatmap', data: cells }],
  });
}

function table(box, panel, answers) {
  const organised = panel.transformations.find((t) => t.id === 'organize').options;
  const many = answers.length > 1;
  const rows = new Map();
  for (const { target, result } of answers) {
    for (const r of result) {
      const key = JSON.stringify(Object.entries(r.metric).filter(([k]) => ['job', 'instance', 'process', 'cause', 'hook', 'program', 'backend'].includes(k)).sort());
      const row = rows.get(key) ?? {};
      Object.assign(row, r.metric, { [many ? 'Value #' + target.refId : 'Value']: number(r.value[1]) });
      rows.set(key, row);
    }
  }
  const place = organised.indexByName;
  const names = Object.entries(organised.renameByName)
    .filter(([name]) => !organised.excludeByName[name])
    .sort(([a], [b]) => place[a] - place[b]);
  const unitOf = (title) => panel.fieldConfig.overrides
    .filter((o) => o.matcher.options === title)
    .flatMap((o) => o.properties).find((p) => p.id === 'unit')?.value ?? panel.fieldConfig.defaults.unit;
  const element = document.createElement('table');
  element.insertRow().append(...names.map(([, title]) => {
    const cell = document.createElement('th');
    cell.textContent = title;
    return cell;
  }));
  const by = names.find(([, title]) => title === panel.options.sortBy[0].displayName)?.[0];
  const sorted = [...rows.values()].sort((a, b) => (a[by] < b[by] ? 1 : -1));
  for (const row of sorted.slice(0, 12)) {
    const line = element.insertRow();
    for (const [name, title] of names) {
      const value = row[name];
      line.insertCell().textContent = typeof value === 'number' ? format(unitOf(title), value) : value ?? '–';
    }
  }
  box.append(element);
}

function text(box, panel) {
  const words = document.createElement('div');
  words.className = 'words';
  words.textContent = panel.options.content;
  box.append(words);
}
