package greeter;

import static serving.Server.json;

import java.util.concurrent.CompletableFuture;
import org.apache.flink.statefun.sdk.java.Context;
import org.apache.flink.statefun.sdk.java.StatefulFunction;
import org.apache.flink.statefun.sdk.java.StatefulFunctionSpec;
import org.apache.flink.statefun.sdk.java.StatefulFunctions;
import org.apache.flink.statefun.sdk.java.TypeName;
import org.apache.flink.statefun.sdk.java.ValueSpec;
import org.apache.flink.statefun.sdk.java.message.EgressMessageBuilder;
import org.apache.flink.statefun.sdk.java.message.Message;
import org.apache.flink.statefun.sdk.java.message.MessageBuilder;
import org.apache.flink.statefun.sdk.java.types.Type;
import serving.Server;
import serving.Server.EgressRecord;

/** The greeter functions with the official Java SDK: `person` counts visits, `greeter` greets. */
public final class Greeter {
  private static final TypeName PERSON = TypeName.typeNameFromString("example/person");
  private static final TypeName GREETER = TypeName.typeNameFromString("example/greeter");
  private static final Type<GreetRequest> GREET_REQUEST =
      json("example/GreetRequest", GreetRequest.class);
  private static final ValueSpec<Integer> VISITS = ValueSpec.named("visits").withIntType();

  record GreetRequest(String name, int visits) {}

  private static final class Person implements StatefulFunction {
    @Override
    public CompletableFuture<Void> apply(Context context, Message message) {
      String name = message.as(GREET_REQUEST).name();
      int visits = context.storage().get(VISITS).orElse(0) + 1;
      context.storage().set(VISITS, visits);
      context.send(
          MessageBuilder.forAddress(GREETER, name)
              .withCustomType(GREET_REQUEST, new GreetRequest(name, visits))
              .build());
      return context.done();
    }
  }

  private static final class Writer implements StatefulFunction {
    @Override
    public CompletableFuture<Void> apply(Context context, Message message) {
      GreetRequest request = message.as(GREET_REQUEST);
      String greeting =
          String.format("Hello %s, this is visit %d.", request.name(), request.visits());
      context.send(
          EgressMessageBuilder.forEgress(Server.EGRESS)
              .withCustomType(Server.EGRESS_RECORD, new EgressRecord("greetings", greeting))
              .build());
      return context.done();
    }
  }

  public static void main(String[] arguments) {
    StatefulFunctions functions = new StatefulFunctions();
    functions.withStatefulFunction(
        StatefulFunctionSpec.builder(PERSON)
            .withValueSpec(VISITS)
            .withSupplier(Person::new)
            .build());
    functions.withStatefulFunction(
        StatefulFunctionSpec.builder(GREETER).withSupplier(Writer::new).build());
    Server.serve(functions);
  }
}
