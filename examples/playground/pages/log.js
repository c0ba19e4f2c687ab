/** The list of messages, newest first. Everything in it is text, whatever a stranger sends. */
const ROWS = 200;
const LETTERS = 400;

/** @param list an ol element */
export function createLog(list) {
  return {
    /**
     * Adds a row.
     *
     * @param kind `ping`, `pong`, `hello`, `message` or `problem`: it is shown, and styled
     * @returns what notes, at the row's end, what became of it
     */
    add(kind, text, note = '') {
      const row = document.createElement('li');
      row.dataset.kind = kind;
      const time = part('time', 'time', new Date().toLocaleTimeString([], { hourCycle: 'h23' }));
      const end = part('span', 'note', note);
      row.append(time, part('span', 'kind', kind), part('span', 'text', shorten(text)), end);
      list.prepend(row);
      if (list.childElementCount > ROWS) list.lastElementChild.remove();
      return (text, state = '') => {
        end.textContent = text;
        row.dataset.state = state;
      };
    },
    clear: () => list.replaceChildren(),
  };
}

function part(tag, className, text) {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

function shorten(text) {
  return text.length > LETTERS ? `${text.slice(0, LETTERS)}…` : text;
}
