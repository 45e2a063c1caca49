// Data that come later, each in a script of its own: so they come from a folder too.
const explorerData = (() => {
  const there = {};
  const asked = {};
  const put = (name, content) => (there[name] = content);

  // Calls back once a script has put what it brings; at once, if it has.
  function load(name, address) {
    asked[name] ??= new Promise((done, failed) => {
      const script = document.createElement("script");
      script.src = address;
      script.onload = () => done(there[name]);
      script.onerror = () => {
        delete asked[name];
        failed(new Error(`${name} did not come`));
      };
      document.head.append(script);
    });
    return asked[name];
  }

  return { load, put, there };
})();
