//! The plots, as SVG.

use anyhow::{Result, anyhow};
use plotters::coord::ranged1d::{Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::table::number;

const WIDTH: u32 = 860;

/// castore's colour, the reference's, and those of others: safe for colour-blind readers.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(160, 160, 160),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
];

/// Bars that belong together: a name, and a value for each series that has one.
pub(super) type Group = (String, Vec<Option<f64>>);

/// Horizontal bars in groups.
pub(super) fn bars(
    title: &str,
    series: &[&str],
    groups: &[Group],
    logarithmic: bool,
) -> Result<String> {
    let greatest = groups.iter().flat_map(|(_, values)| values).flatten().copied();
    let greatest = greatest.fold(1.0, f64::max) * 1.15;
    if logarithmic {
        // A bar on a logarithmic axis needs a start: one.
        draw_bars(title, series, groups, (1.0..greatest * 2.0).log_scale(), 1.0)
    } else {
        draw_bars(title, series, groups, 0.0..greatest, 0.0)
    }
}

fn draw_bars<X>(
    title: &str,
    series: &[&str],
    groups: &[Group],
    range: X,
    start: f64,
) -> Result<String>
where
    X: plotters::coord::ranged1d::AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64> + Ranged<ValueType = f64>,
{
    let bar = 1.0 / (series.len() as f64 + 0.8);
    let height = 106 + (groups.len() * series.len()) as u32 * 17 + groups.len() as u32 * 10;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        let count = groups.len() as f64;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, ("sans-serif", 18))
            .margin(8)
            .margin_top(24)
            .x_label_area_size(28)
            .y_label_area_size(230)
            .build_cartesian_2d(range, -count..0.0)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .y_labels(0)
            .light_line_style(TRANSPARENT)
            .x_label_formatter(&|value| number(*value))
            .draw()
            .map_err(failed)?;
        let label = ("sans-serif", 13).into_font();
        for (place, (name, values)) in groups.iter().enumerate() {
            let top = -(place as f64);
            let middle = chart.backend_coord(&(start, top - 0.5));
            let right = label.color(&BLACK).pos(Pos::new(HPos::Right, VPos::Center));
            root.draw(&Text::new(name.clone(), (middle.0 - 8, middle.1), right)).map_err(failed)?;
            for (number_of, value) in values.iter().enumerate() {
                let Some(value) = value.filter(|value| value.is_finite()) else { continue };
                let upper = top - bar * (0.4 + number_of as f64);
                let corners = [(start, upper), (value.max(start), upper - 0.88 * bar)];
                let colour = COLOURS[number_of % COLOURS.len()].filled();
                chart.draw_series([Rectangle::new(corners, colour)]).map_err(failed)?;
                let end = chart.backend_coord(&(value.max(start), upper - 0.44 * bar));
                let left = ("sans-serif", 11).into_font().color(&BLACK);
                let left = left.pos(Pos::new(HPos::Left, VPos::Center));
                let text = Text::new(number(value), (end.0 + 4, end.1), left);
                root.draw(&text).map_err(failed)?;
            }
        }
        legend(&root, series)?;
        root.present().map_err(failed)?;
    }
    Ok(svg)
}

/// A named line.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// Lines over a shared axis.
pub(super) fn lines(
    title: &str,
    [across, up]: [&str; 2],
    lines: &[Line],
    logarithmic: bool,
) -> Result<String> {
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    let right = points().map(|(x, _)| x).fold(0.0, f64::max);
    let top = points().map(|(_, y)| y).fold(0.0, f64::max);
    if logarithmic {
        let left = points().map(|(x, _)| x).fold(f64::MAX, f64::min);
        let bottom = points().map(|(_, y)| y).fold(f64::MAX, f64::min);
        let x = (left * 0.8..right * 1.25).log_scale();
        draw_lines(title, [across, up], lines, x, (bottom * 0.7..top * 1.4).log_scale(), true)
    } else {
        draw_lines(title, [across, up], lines, 0.0..right * 1.02, 0.0..top * 1.1, false)
    }
}

fn draw_lines<X, Y>(
    title: &str,
    [across, up]: [&str; 2],
    lines: &[Line],
    x: X,
    y: Y,
    has_marks: bool,
) -> Result<String>
where
    X: plotters::coord::ranged1d::AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64> + Ranged<ValueType = f64>,
    Y: plotters::coord::ranged1d::AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64> + Ranged<ValueType = f64>,
{
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, 380)).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, ("sans-serif", 18))
            .margin(8)
            .margin_top(26)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(x, y)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc(across)
            .y_desc(up)
            .x_label_formatter(&|value| number(*value))
            .y_label_formatter(&|value| number(*value))
            .draw()
            .map_err(failed)?;
        for (number, line) in lines.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            let points = line.points.iter().copied();
            chart.draw_series(LineSeries::new(points, colour.stroke_width(2))).map_err(failed)?;
            if has_marks {
                let marks = line.points.iter().map(|point| Circle::new(*point, 4, colour.filled()));
                chart.draw_series(marks).map_err(failed)?;
            }
        }
        let names: Vec<&str> = lines.iter().map(|line| line.name.as_str()).collect();
        legend(&root, &names)?;
        root.present().map_err(failed)?;
    }
    Ok(svg)
}

/// The names of the series with their colours, in a row above the title, in the margin.
fn legend<DB: DrawingBackend>(
    root: &DrawingArea<DB, plotters::coord::Shift>,
    names: &[&str],
) -> Result<()>
where
    DB::ErrorType: 'static,
{
    let mut x = 240;
    for (number, name) in names.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()].filled();
        root.draw(&Rectangle::new([(x, 7), (x + 11, 18)], colour)).map_err(failed)?;
        let style = ("sans-serif", 12).into_font().color(&BLACK);
        root.draw(&Text::new((*name).to_owned(), (x + 16, 7), style)).map_err(failed)?;
        x += 34 + 7 * name.len() as i32;
    }
    Ok(())
}

fn failed<E: std::fmt::Display>(error: E) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_show_their_names_and_values() {
        let groups = [("put new".to_owned(), vec![Some(123.0), None]), ("x".to_owned(), vec![])];
        for logarithmic in [false, true] {
            let svg = bars("Title", &["castore", "reference"], &groups, logarithmic).unwrap();
            for text in ["<svg", "Title", "castore", "reference", "put new", "123"] {
                assert!(svg.contains(text), "{text}");
            }
        }
    }

    #[test]
    fn lines_show_their_names() {
        let drawn = [Line { name: "put".to_owned(), points: vec![(5.0, 100.0), (20.0, 50.0)] }];
        for logarithmic in [false, true] {
            let svg = lines("Title", ["ms", "MB/s"], &drawn, logarithmic).unwrap();
            assert!(svg.contains("put") && svg.contains("MB/s") && svg.contains("polyline"));
        }
    }
}
