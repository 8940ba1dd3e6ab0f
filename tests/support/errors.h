// Tests of error messages.
#pragma once

#include <doctest/doctest.h>

#include <exception>
#include <string>

#include <gradus/tensor/check.h>

namespace gradus::test {

/// The message of the exception that function() throws; empty if it throws none.
template <class Function>
std::string error_of(Function&& function) {
  try {
    function();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

}  // namespace gradus::test

/// The expression throws gradus::Error with `text` in its message.
#define CHECK_ERROR(expression, text) \
  CHECK_THROWS_WITH_AS((void)(expression), doctest::Contains(text), ::gradus::Error)
