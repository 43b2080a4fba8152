//! Statements: prepared once per connection, and what goes in and out of them.

use std::collections::HashMap;

use postgres::types::{FromSql, ToSql, Type};
use postgres::{Client, Statement};

use super::super::{Cell, Param, Row, SqlError};
use super::error;

/// Statements kept per connection; with more, all are dropped.
const STATEMENTS_MAX: usize = 512;

/// The prepared statements of a connection, by their text. A text has several when its parameters
/// are of several types, which `NULL` does not tell.
#[derive(Default)]
pub(super) struct Statements {
    prepared: HashMap<Box<str>, Vec<Statement>>,
    count: usize,
}

impl Statements {
    /// The statement for these parameters.
    pub(super) fn get(
        &mut self,
        client: &mut Client,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Statement, SqlError> {
        let known = self.prepared.get(sql);
        if let Some(statement) = known.and_then(|all| all.iter().find(|one| fits(one, params))) {
            return Ok(statement.clone());
        }
        let types: Vec<Type> = params.iter().map(type_of).collect();
        let statement = client
            .prepare_typed(&placeholders(sql), &types)
            .map_err(error)?;
        if !fits(&statement, params) {
            return Err(SqlError::Shape(format!(
                "{} parameters of types {types:?} are given to a statement that takes {:?}",
                params.len(),
                statement.params()
            )));
        }
        if self.count >= STATEMENTS_MAX {
            self.prepared.clear();
            self.count = 0;
        }
        self.count += 1;
        self.prepared
            .entry(sql.into())
            .or_default()
            .push(statement.clone());
        Ok(statement)
    }
}

fn type_of(param: &Param<'_>) -> Type {
    match param {
        // Left to the server.
        Param::Null => Type::UNKNOWN,
        Param::Int(_) => Type::INT8,
        Param::Text(_) => Type::TEXT,
    }
}

fn fits(statement: &Statement, params: &[Param<'_>]) -> bool {
    let types = statement.params();
    types.len() == params.len()
        && types
            .iter()
            .zip(params)
            .all(|(known, param)| matches!(param, Param::Null) || *known == type_of(param))
}

/// The parameters as the client takes them.
pub(super) fn values<'a>(
    statement: &Statement,
    params: &'a [Param<'_>],
) -> Vec<&'a (dyn ToSql + Sync)> {
    params
        .iter()
        .zip(statement.params())
        .map(|(param, known)| match param {
            Param::Int(value) => value as &(dyn ToSql + Sync),
            Param::Text(text) => text,
            Param::Null => nothing(known),
        })
        .collect()
}

/// `NULL`, which has a type here.
fn nothing(known: &Type) -> &'static (dyn ToSql + Sync) {
    match *known {
        Type::INT8 => &None::<i64>,
        Type::INT4 => &None::<i32>,
        Type::BOOL => &None::<bool>,
        _ => &None::<&str>,
    }
}

/// A row as it came.
pub(super) fn row(row: &postgres::Row) -> Result<Row, SqlError> {
    let cells = row.columns().iter().enumerate().map(|(nth, column)| {
        let Any(cell) = row.try_get(nth).map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            SqlError::Shape(format!(
                "column {nth} is of type {}: {}",
                column.type_(),
                cause.unwrap_or_default()
            ))
        })?;
        Ok(cell)
    });
    Ok(Row(cells.collect::<Result<_, SqlError>>()?))
}

/// A cell of any type a statement may have.
struct Any(Cell);

type Unfit = Box<dyn std::error::Error + Sync + Send>;

impl<'a> FromSql<'a> for Any {
    fn from_sql(known: &Type, raw: &'a [u8]) -> Result<Self, Unfit> {
        Ok(Any(match *known {
            Type::INT8 => Cell::Int(i64::from_sql(known, raw)?),
            Type::INT4 => Cell::Int(i32::from_sql(known, raw)?.into()),
            Type::INT2 => Cell::Int(i16::from_sql(known, raw)?.into()),
            Type::BOOL => Cell::Int(bool::from_sql(known, raw)?.into()),
            // What a sum is.
            Type::NUMERIC => Cell::Int(whole_number(raw).ok_or("it is no 64-bit number")?),
            _ => Cell::Text(String::from_sql(known, raw)?),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Unfit> {
        Ok(Any(Cell::Null))
    }

    fn accepts(known: &Type) -> bool {
        matches!(
            *known,
            Type::INT8 | Type::INT4 | Type::INT2 | Type::BOOL | Type::NUMERIC
        ) || <String as FromSql>::accepts(known)
    }
}

/// A `NUMERIC` in binary form, if it is a whole number of 64 bits: the number of its digits to the
/// base of 10000, the place of the first one, the sign, the decimals shown, and the digits.
fn whole_number(raw: &[u8]) -> Option<i64> {
    let mut words = raw
        .chunks_exact(2)
        .map(|pair| Some(u16::from_be_bytes([*pair.first()?, *pair.get(1)?])));
    let mut word = || words.next().flatten();
    let digits = i32::from(word()?);
    let first = i32::from(word()?.cast_signed());
    let sign = match word()? {
        0x0000 => 1,
        0x4000 => -1,
        _ => return None,
    };
    word()?;
    let mut value: i128 = 0;
    for place in (0..=first).rev() {
        let digit = if first - place < digits { word()? } else { 0 };
        value = value.checked_mul(10_000)?.checked_add(digit.into())?;
    }
    // Digits behind the point.
    while let Some(digit) = word() {
        if digit != 0 {
            return None;
        }
    }
    i64::try_from(value * sign).ok()
}

/// The statement with `$1` for `?1`, outside of quoted texts, quoted names and comments.
fn placeholders(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut quote = None;
    let mut before = ' ';
    for letter in sql.chars() {
        match quote {
            Some(open) if open == letter => quote = None,
            Some(_) => {}
            None if letter == '\'' || letter == '"' => quote = Some(letter),
            // A comment ends with its line.
            None if letter == '-' && before == '-' => quote = Some('\n'),
            None if letter == '?' => {
                out.push('$');
                before = '$';
                continue;
            }
            None => {}
        }
        out.push(letter);
        before = letter;
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn placeholders_are_rewritten_where_they_are_placeholders() {
        for (from, to) in [
            ("SELECT ?1, ?2", "SELECT $1, $2"),
            ("SELECT '?1' || ?1", "SELECT '?1' || $1"),
            ("SELECT 'it''s ?' , ?1", "SELECT 'it''s ?' , $1"),
            (
                "SELECT \"a?\" FROM t -- a-?1\nWHERE x=?10",
                "SELECT \"a?\" FROM t -- a-?1\nWHERE x=$10",
            ),
            ("SELECT 1 - -?1", "SELECT 1 - -$1"),
            (
                "x LIKE ?1 ESCAPE '\\' AND y=?2",
                "x LIKE $1 ESCAPE '\\' AND y=$2",
            ),
        ] {
            assert_eq!(placeholders(from), to);
        }
    }

    /// As the server writes a whole number.
    fn numeric(value: i128) -> Vec<u8> {
        let mut rest = value.unsigned_abs();
        let mut digits = Vec::new();
        while rest > 0 {
            digits.insert(0, u16::try_from(rest % 10_000).unwrap());
            rest /= 10_000;
        }
        let first = i16::try_from(digits.len()).unwrap() - 1;
        while digits.last() == Some(&0) {
            digits.pop();
        }
        let sign = if value < 0 { 0x4000 } else { 0 };
        let count = u16::try_from(digits.len()).unwrap();
        [count, first.max(0).cast_unsigned(), sign, 0]
            .into_iter()
            .chain(digits)
            .flat_map(u16::to_be_bytes)
            .collect()
    }

    #[test]
    fn sums_are_whole_numbers() {
        for value in [
            0,
            1,
            -1,
            9_999,
            10_000,
            120_000_000,
            -123_456_789_012,
            i64::MAX,
            i64::MIN,
        ] {
            assert_eq!(whole_number(&numeric(value.into())), Some(value));
        }
        assert_eq!(whole_number(&numeric(i128::from(i64::MAX) + 1)), None);
        assert_eq!(whole_number(&numeric(i128::MAX)), None);
        let half = [0, 1, 0xff, 0xff, 0, 0, 0, 1, 0x13, 0x88];
        assert_eq!(whole_number(&half), None);
        let not_a_number = [0, 0, 0, 0, 0xc0, 0, 0, 0];
        assert_eq!(whole_number(&not_a_number), None);
        assert_eq!(whole_number(&[0, 1]), None);
    }
}
