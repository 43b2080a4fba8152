//! The wire's values as Python's, and back (P 1.1).

use std::collections::BTreeMap;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyComplex, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyString,
    PyTuple,
};
use slap::{Class, Object, Value, marshal};

/// Deepest nesting that is sent; the same a Master accepts.
const DEPTH_MAX: usize = 90;

/// Reads a marshalled document.
#[pyfunction]
pub(crate) fn loads(py: Python<'_>, document: &[u8]) -> PyResult<Py<PyAny>> {
    let value = marshal::decode(document).map_err(|error| unreadable("the document", &error))?;
    to_python(py, &value).map(Bound::unbind)
}

/// Writes a value as a marshalled document.
#[pyfunction]
pub(crate) fn dumps<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let document = marshal::encode(&from_python(value)?)
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(PyBytes::new(value.py(), document.as_bytes()))
}

pub(crate) fn unreadable(what: &str, error: &dyn std::fmt::Display) -> PyErr {
    PyValueError::new_err(format!("{what} cannot be understood: {error}"))
}

/// A value as Python's. Objects are made by `slapos.slap.slap`.
pub(crate) fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    let items = |items: &[Value]| -> PyResult<Vec<Bound<'py, PyAny>>> {
        items.iter().map(|item| to_python(py, item)).collect()
    };
    Ok(match value {
        Value::None => py.None().into_bound(py),
        Value::Bool(truth) => PyBool::new(py, *truth).to_owned().into_any(),
        Value::Int(number) => number.into_pyobject(py)?.into_any(),
        Value::Float(number) => PyFloat::new(py, *number).into_any(),
        Value::Complex(real, imaginary) => {
            PyComplex::from_doubles(py, *real, *imaginary).into_any()
        }
        Value::String(text) => PyString::new(py, text).into_any(),
        Value::List(list) => PyList::new(py, items(list)?)?.into_any(),
        Value::Tuple(list) => PyTuple::new(py, items(list)?)?.into_any(),
        Value::Set(list) => PySet::new(py, items(list)?)?.into_any(),
        Value::Dict(entries) => dict(py, entries)?.into_any(),
        Value::Object(object) => py
            .import("slapos.slap.slap")?
            .getattr("_from_wire")?
            .call1((
                object.class.name(),
                PyTuple::new(py, items(&object.arguments)?)?,
                dict(py, &object.attributes)?,
            ))?,
    })
}

fn dict<'py>(py: Python<'py>, entries: &BTreeMap<String, Value>) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (key, value) in entries {
        dict.set_item(key, to_python(py, value)?)?;
    }
    Ok(dict)
}

/// Python's value as the wire's.
pub(crate) fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    read(value, 0)
}

/// A dictionary with texts as keys that can be sent.
pub(crate) fn dict_from_python(value: &Bound<'_, PyAny>) -> PyResult<BTreeMap<String, Value>> {
    let value = from_python(value)?;
    marshal::encode(&value).map_err(|error| PyValueError::new_err(error.to_string()))?;
    match value {
        Value::Dict(entries) => Ok(entries),
        other => Err(PyValueError::new_err(format!(
            "a dictionary is needed here, not {}",
            other.kind()
        ))),
    }
}

fn read(value: &Bound<'_, PyAny>, depth: usize) -> PyResult<Value> {
    if depth > DEPTH_MAX {
        return Err(PyValueError::new_err(format!(
            "more than {DEPTH_MAX} levels of nesting cannot be sent"
        )));
    }
    let items = |value: &Bound<'_, PyAny>| -> PyResult<Vec<Value>> {
        value
            .try_iter()?
            .map(|item| read(&item?, depth + 1))
            .collect()
    };
    if value.is_none() {
        Ok(Value::None)
    } else if let Ok(truth) = value.cast::<PyBool>() {
        Ok(Value::Bool(truth.is_true()))
    } else if let Ok(number) = value.cast::<PyInt>() {
        let number = number.extract().map_err(|_| {
            PyValueError::new_err("an integer of more than 127 bits cannot be sent")
        })?;
        Ok(Value::Int(number))
    } else if let Ok(number) = value.cast::<PyFloat>() {
        Ok(Value::Float(number.value()))
    } else if let Ok(text) = value.cast::<PyString>() {
        Ok(Value::text(text.to_cow()?))
    } else if value.is_instance_of::<PyTuple>() {
        items(value).map(Value::Tuple)
    } else if value.is_instance_of::<PyList>() {
        items(value).map(Value::List)
    } else if value.is_instance_of::<PySet>() || value.is_instance_of::<PyFrozenSet>() {
        items(value).map(Value::Set)
    } else if let Ok(entries) = value.cast::<PyDict>() {
        read_dict(entries, depth).map(Value::Dict)
    } else if let Ok(number) = value.cast::<PyComplex>() {
        Ok(Value::Complex(number.real(), number.imag()))
    } else {
        read_object(value, depth)
    }
}

fn read_dict(entries: &Bound<'_, PyDict>, depth: usize) -> PyResult<BTreeMap<String, Value>> {
    entries
        .iter()
        .map(|(key, value)| {
            let key = key.cast::<PyString>().map_err(|_| {
                PyTypeError::new_err(format!("the keys of a dictionary must be texts, not {key}"))
            })?;
            Ok((key.to_cow()?.into_owned(), read(&value, depth + 1)?))
        })
        .collect()
}

/// An object of one of the four classes; what belongs to its connection is left out.
fn read_object(value: &Bound<'_, PyAny>, depth: usize) -> PyResult<Value> {
    let class = value.get_type();
    let known = class
        .module()
        .is_ok_and(|module| module == "slapos.slap.slap")
        .then(|| Class::from_name(&class.name().ok()?.to_string()))
        .flatten();
    let Some(known) = known else {
        return Err(PyTypeError::new_err(format!(
            "{} cannot be sent to a Master",
            value.repr()?
        )));
    };
    let arguments = match value.getattr_opt("__getinitargs__")? {
        Some(method) => read(&method.call0()?, depth + 1)?,
        None => Value::Tuple(Vec::new()),
    };
    let arguments = arguments.as_sequence().unwrap_or_default().to_vec();
    let all = value.getattr("__dict__")?;
    let attributes = PyDict::new(value.py());
    for (name, value) in all.cast::<PyDict>()?.iter() {
        let text = name.cast::<PyString>()?.to_cow()?;
        if !matches!(
            text.as_ref(),
            "_connection_helper" | "_hateoas_navigator" | "_again"
        ) {
            attributes.set_item(&name, value)?;
        }
    }
    Ok(Value::Object(Box::new(Object {
        class: known,
        arguments,
        attributes: read_dict(&attributes, depth)?,
    })))
}
