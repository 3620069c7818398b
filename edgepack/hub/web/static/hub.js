// An address such as /login#TOKEN signs in: what follows the mark is never sent by itself.
"use strict";
const form = document.getElementById("login");
const token = window.location.hash.slice(1);
if (form instanceof HTMLFormElement && token !== "") {
  window.history.replaceState(null, "", window.location.pathname + window.location.search);
  form.elements.namedItem("token").value = token;
  form.submit();
}
