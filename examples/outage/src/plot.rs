//! Both runs over time, side by side on the same axes: success, latency, calls in flight, and the
//! state of the circuit.

use std::{fs, ops::Range, path::Path, time::Duration};

use mainstay::State;
use plotters::backend::SVGBackend;
use plotters::{
    chart::{ChartBuilder, ChartContext, SeriesLabelPosition},
    coord::{
        Shift,
        cartesian::Cartesian2d,
        combinators::IntoLogRange,
        ranged1d::{Ranged, ValueFormatter},
        types::RangedCoordf64,
    },
    drawing::{DrawingArea, IntoDrawingArea},
    element::{PathElement, Rectangle, Text},
    series::{AreaSeries, DashedLineSeries, LineSeries},
    style::{
        Color, IntoTextStyle, RGBColor, ShapeStyle, TextStyle, WHITE,
        text_anchor::{HPos, Pos, VPos},
    },
};
use tower::BoxError;

use crate::{
    load::PATIENCE,
    phase::Phase,
    route::Route,
    run::Run,
    stats::{Call, milliseconds, quantile},
};

const SIZE: (u32, u32) = (1400, 1000);
/// Points per phase and line.
const BINS: u32 = 20;

const INK: RGBColor = RGBColor(40, 40, 48);
const FAINT: RGBColor = RGBColor(214, 214, 220);
const MEDIAN: RGBColor = RGBColor(24, 84, 160);
const TAIL: RGBColor = RGBColor(214, 96, 20);
const HEALTHY: RGBColor = RGBColor(40, 140, 80);
const OUTAGE: RGBColor = RGBColor(176, 44, 72);
const IN_FLIGHT: RGBColor = RGBColor(96, 72, 160);
const CLOSED: RGBColor = RGBColor(196, 228, 206);
const HALF_OPEN: RGBColor = RGBColor(240, 180, 40);
const OPEN: RGBColor = RGBColor(208, 84, 80);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, Y> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, Y>>;
/// Points of seconds since the start, and a value.
type Points = Vec<(f64, f64)>;

/// Writes the plot as an SVG file.
pub(crate) fn write(
    path: &Path,
    phase: Duration,
    without: &Run,
    with: &Run,
) -> Result<(), BoxError> {
    fs::write(path, svg(phase, without, with)?)
        .map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}

fn svg(phase: Duration, without: &Run, with: &Run) -> Result<String, BoxError> {
    let mut svg = String::new();
    let runs = [
        (without, Lines::new(&without.calls, phase)),
        (with, Lines::new(&with.calls, phase)),
    ];
    let latencies = latency_axis(&runs);
    let most = |run: &Run| run.in_flight.iter().map(|sample| sample.1).max();
    let most = most(without).max(most(with)).unwrap_or_default();
    // Some space above for the legend.
    let in_flights = 0.0..(most as f64 * 1.25).max(10.0);
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        for (area, (run, lines)) in root.split_evenly((1, 2)).iter().zip(&runs) {
            let title = format!("{} the stack", run.stack.title());
            let area = area.titled(&title, text(24))?;
            let (upper, lower) = area.split_vertically(560);
            let (first, second) = upper.split_vertically(250);
            let (third, fourth) = lower.split_vertically(240);
            success(&first, phase, lines)?;
            latency(&second, phase, latencies.clone(), lines)?;
            in_flight(&third, phase, in_flights.clone(), run)?;
            circuit(&fourth, phase, run)?;
        }
        root.present()?;
    }
    Ok(svg)
}

/// The figures of a run over time, with a point for each bin.
struct Lines {
    median_ms: Points,
    tail_ms: Points,
    /// For each route.
    success_percent: [Points; Route::COUNT],
}

impl Lines {
    /// A call belongs to the bin in which it was due.
    fn new(calls: &[Call], phase: Duration) -> Self {
        let mut lines = Self {
            median_ms: vec![],
            tail_ms: vec![],
            success_percent: [vec![], vec![]],
        };
        let width = phase / BINS;
        let bin_of = |call: &Call| call.offset.div_duration_f64(width) as u32;
        for bin in calls.chunk_by(|a, b| bin_of(a) == bin_of(b)) {
            let middle = (f64::from(bin_of(&bin[0])) + 0.5) * width.as_secs_f64();
            for route in Route::ALL {
                let calls = || bin.iter().filter(|call| call.route == route);
                let ok = calls().filter(|call| call.ok).count();
                let percent = 100.0 * ok as f64 / calls().count().max(1) as f64;
                lines.success_percent[route.index()].push((middle, percent));
            }
            let of_catalog = bin.iter().filter(|call| call.route == Route::Catalog);
            let mut latencies: Vec<_> = of_catalog.map(|call| call.latency).collect();
            latencies.sort_unstable();
            for (line, q) in [(&mut lines.median_ms, 0.50), (&mut lines.tail_ms, 0.99)] {
                line.push((middle, milliseconds(quantile(&latencies, q))));
            }
        }
        lines
    }
}

/// The decades that contain every latency of both runs.
fn latency_axis(runs: &[(&Run, Lines)]) -> Range<f64> {
    let all = || {
        runs.iter()
            .flat_map(|(_, lines)| lines.median_ms.iter().chain(&lines.tail_ms))
            .map(|point| point.1)
    };
    let least = all().fold(1.0, f64::min).max(1e-3);
    let most = all().fold(100.0, f64::max);
    // The legend is above one second.
    10_f64.powf(least.log10().floor())..10_f64.powf((most * 3.0).log10().ceil())
}

fn success(area: &Area<'_>, phase: Duration, lines: &Lines) -> Result<(), BoxError> {
    const TOP: f64 = 135.0;
    let mut chart = chart(area).build_cartesian_2d(0.0..seconds(phase), 0.0..TOP)?;
    chart.draw_series(shades(phase, 0.0..TOP))?;
    chart.draw_series(names(area, phase, TOP))?;
    mesh(&mut chart, area, "success", |percent| {
        if *percent > 100.0 {
            String::new()
        } else {
            format!("{percent} %")
        }
    })?;
    let [catalog, pricing] = &lines.success_percent;
    line(
        &mut chart,
        pricing,
        HEALTHY,
        "/pricing: its upstream is healthy",
    )?;
    line(
        &mut chart,
        catalog,
        OUTAGE,
        "/catalog: its upstream has an outage",
    )?;
    legend(&mut chart, area)
}

/// Latency on a logarithmic axis, on which a millisecond and a second are both readable.
fn latency(
    area: &Area<'_>,
    phase: Duration,
    axis: Range<f64>,
    lines: &Lines,
) -> Result<(), BoxError> {
    let mut chart =
        chart(area).build_cartesian_2d(0.0..seconds(phase), axis.clone().log_scale())?;
    chart.draw_series(shades(phase, axis))?;
    mesh(&mut chart, area, "latency of /catalog", |ms| {
        if *ms < 1e3 {
            format!("{ms} ms")
        } else {
            format!("{} s", ms / 1e3)
        }
    })?;
    dashes(
        &mut chart,
        phase,
        milliseconds(PATIENCE),
        "the user gives up",
    )?;
    line(&mut chart, &lines.tail_ms, TAIL, "p99")?;
    line(&mut chart, &lines.median_ms, MEDIAN, "median")?;
    legend(&mut chart, area)
}

fn in_flight(
    area: &Area<'_>,
    phase: Duration,
    axis: Range<f64>,
    run: &Run,
) -> Result<(), BoxError> {
    let mut chart = chart(area).build_cartesian_2d(0.0..seconds(phase), axis.clone())?;
    chart.draw_series(shades(phase, axis.clone()))?;
    mesh(&mut chart, area, "calls in flight", |calls| {
        calls.to_string()
    })?;
    let samples = run.in_flight.iter();
    let points = samples.map(|&(at, calls)| (at.as_secs_f64(), calls as f64));
    chart.draw_series(
        AreaSeries::new(points, 0.0, IN_FLIGHT.mix(0.25)).border_style(IN_FLIGHT.stroke_width(2)),
    )?;
    let room = run.room as f64;
    if room < axis.end {
        dashes(&mut chart, phase, room, "the gateway is full")?;
        legend(&mut chart, area)?;
    }
    Ok(())
}

/// The states of the circuit as a band.
fn circuit(area: &Area<'_>, phase: Duration, run: &Run) -> Result<(), BoxError> {
    const TOP: f64 = 0.6;
    let end = seconds(phase);
    let mut chart = chart(area)
        .x_label_area_size(40)
        .build_cartesian_2d(0.0..end, 0.0..1.0)?;
    chart
        .configure_mesh()
        .disable_mesh()
        .x_label_formatter(&|seconds| seconds.to_string())
        .y_labels(0)
        .axis_style(INK)
        .label_style(text(13).into_text_style(area))
        .y_desc("circuit")
        .x_desc("seconds since the start")
        .draw()?;
    let style = text(13).into_text_style(area);
    if run.circuit.is_empty() {
        let middle = style.pos(Pos::new(HPos::Center, VPos::Center));
        chart.draw_series([Text::new(
            "no circuit breaker",
            (end / 2.0, TOP / 2.0),
            middle,
        )])?;
        return Ok(());
    }

    let changes = run.circuit.iter();
    let changes = changes.map(|&(at, state)| (at.as_secs_f64(), state));
    let mut bands = vec![(0.0, State::Closed)];
    bands.extend(changes.filter(|change| change.0 < end));
    let ends = bands.iter().skip(1).map(|band| band.0).chain([end]);
    let band = |(begin, until), state| {
        Rectangle::new([(begin, 0.0), (until, TOP)], shown(state).1.filled())
    };
    chart.draw_series(
        bands
            .iter()
            .zip(ends)
            .map(|(&(begin, state), until)| band((begin, until), state)),
    )?;
    // A probe that fails at once would be narrower than a pixel.
    let least = end / 250.0;
    let probes = bands.iter().filter(|band| band.1 == State::HalfOpen);
    chart.draw_series(probes.map(|&(begin, state)| band((begin, begin + least), state)))?;

    let states = [State::Closed, State::Open, State::HalfOpen];
    let style = style.pos(Pos::new(HPos::Left, VPos::Center));
    for (place, state) in (0_u32..).zip(states) {
        let (name, color) = shown(state);
        let x = end * 0.15 * f64::from(place);
        let key = [(x, 0.76), (x + end * 0.03, 0.92)];
        chart.draw_series([Rectangle::new(key, color.filled())])?;
        chart.draw_series([Text::new(name, (x + end * 0.04, 0.84), style.clone())])?;
    }
    Ok(())
}

/// The name and the colour of a state.
fn shown(state: State) -> (&'static str, RGBColor) {
    match state {
        State::Closed | State::ForcedClosed => ("closed", CLOSED),
        State::Open | State::ForcedOpen => ("open", OPEN),
        State::HalfOpen | State::Recovering => ("half-open", HALF_OPEN),
        _ => ("other", FAINT),
    }
}

/// The margins of every chart.
fn chart<'a, 'b>(area: &'b Area<'a>) -> ChartBuilder<'b, 'static, SVGBackend<'a>> {
    let mut chart = ChartBuilder::on(area);
    chart
        .margin(8)
        .margin_right(20)
        .x_label_area_size(22)
        .y_label_area_size(64);
    chart
}

fn mesh<Y: Ranged<ValueType = f64> + ValueFormatter<f64>>(
    chart: &mut Chart<'_, Y>,
    area: &Area<'_>,
    title: &str,
    label: impl Fn(&f64) -> String,
) -> Result<(), BoxError> {
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_label_formatter(&|seconds| seconds.to_string())
        .bold_line_style(FAINT)
        .light_line_style(WHITE.mix(0.0))
        .axis_style(INK)
        .label_style(text(13).into_text_style(area))
        .y_labels(5)
        .y_label_formatter(&label)
        .y_desc(title)
        .draw()?;
    Ok(())
}

fn line<Y: Ranged<ValueType = f64>>(
    chart: &mut Chart<'_, Y>,
    points: &Points,
    color: RGBColor,
    name: &str,
) -> Result<(), BoxError> {
    let style = color.stroke_width(2);
    chart
        .draw_series(LineSeries::new(points.iter().copied(), style))?
        .label(name)
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    Ok(())
}

/// A dashed line at `y`, over the whole width.
fn dashes<Y: Ranged<ValueType = f64>>(
    chart: &mut Chart<'_, Y>,
    phase: Duration,
    y: f64,
    name: &str,
) -> Result<(), BoxError> {
    let style = INK.mix(0.6).stroke_width(1);
    let points = [(0.0, y), (seconds(phase), y)];
    chart
        .draw_series(DashedLineSeries::new(points, 6, 4, style))?
        .label(name)
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    Ok(())
}

fn legend<Y: Ranged<ValueType = f64>>(
    chart: &mut Chart<'_, Y>,
    area: &Area<'_>,
) -> Result<(), BoxError> {
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(FAINT)
        .label_font(text(13).into_text_style(area))
        .draw()?;
    Ok(())
}

fn seconds(phase: Duration) -> f64 {
    Phase::ALL.len() as f64 * phase.as_secs_f64()
}

/// The beginning and the end of a phase, in seconds.
fn span(phase: Phase, length: Duration) -> (f64, f64) {
    let begin = phase.index() as f64 * length.as_secs_f64();
    (begin, begin + length.as_secs_f64())
}

fn shades(length: Duration, y: Range<f64>) -> impl Iterator<Item = Rectangle<(f64, f64)>> {
    Phase::ALL.into_iter().map(move |phase| {
        let (begin, end) = span(phase, length);
        Rectangle::new([(begin, y.start), (end, y.end)], shade(phase))
    })
}

fn shade(phase: Phase) -> ShapeStyle {
    match phase {
        Phase::Healthy | Phase::Recovery => WHITE.filled(),
        Phase::Slow => RGBColor(255, 246, 214).filled(),
        Phase::Broken => RGBColor(255, 228, 222).filled(),
        Phase::Refused => RGBColor(236, 228, 244).filled(),
    }
}

fn names<'a>(
    area: &Area<'_>,
    length: Duration,
    y: f64,
) -> impl Iterator<Item = Text<'a, (f64, f64), &'static str>> {
    let style = text(14)
        .into_text_style(area)
        .pos(Pos::new(HPos::Center, VPos::Bottom));
    Phase::ALL.into_iter().map(move |phase| {
        let (begin, end) = span(phase, length);
        Text::new(phase.name(), (f64::midpoint(begin, end), y), style.clone())
    })
}

fn text(size: u32) -> TextStyle<'static> {
    TextStyle::from(("sans-serif", size)).color(&INK)
}
